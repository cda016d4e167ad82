"""Model files that coverage guides: an endless search for an error that is no line to the user. Needs the extra `fuzz`.

    python tests/fuzz/guided.py FOLDER [-max_total_time=60]

FOLDER holds good model files to begin with, and gets those that reach further. The reader and the checks are searched,
without ONNX Runtime.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wcr_med.onnx_file", "wcr_med.model_metadata"]):
    from wcr_med.errors import UserError
    from wcr_med.model_metadata import METADATA_KEY, ModelMetadata
    from wcr_med.onnx_file import read_contents, require_openable, unsealed
    from wcr_med.onnx_file.wire import DamagedError

_PATH = Path(tempfile.mkdtemp()) / "m.onnx"


def one(content: bytes) -> None:
    """Read and check one file."""
    with contextlib.suppress(DamagedError):
        content = unsealed(content)  # else the checksum would refuse every change
    _PATH.write_bytes(content)
    try:
        contents = read_contents(_PATH)
        require_openable(contents)
        ModelMetadata.from_json(contents.metadata.get(METADATA_KEY), source="m.onnx")
    except UserError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
