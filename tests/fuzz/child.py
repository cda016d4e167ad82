"""A process with little memory that opens what it is told to, one file after the other.

    python child.py KIND MODEL

Reads a path a line, answers a line: `good`, `refused MESSAGE`, or `fault WHAT`. Where it ends without an answer, the
file has killed it: a crash, or memory.
"""

import faulthandler
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wcr_med.errors import UserError
from wcr_med.model_metadata import ModelMetadata
from wcr_med.onnx_file import read_contents
from wcr_med.runtime import Segmenter
from wcr_med.volumes.images import read_images
from wcr_med.volumes.nifti import read_nifti

MOST_BYTES = 512 * 2**20
"""Of address space beyond what the process has once a good file was opened."""

IMAGE = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3)).astype(np.uint8)


def segment(path: Path) -> None:
    with Segmenter.from_file(path, threads=1) as segmenter:
        result = segmenter(IMAGE)
    assert result.mask.shape == IMAGE.shape[:3]
    assert result.mask.max() <= 1
    assert np.isfinite(result.probability).all()


def nifti(path: Path) -> None:
    volume = read_nifti([path], None, patient_id="P")
    assert volume.image_SHWC.ndim == 4
    assert np.isfinite(volume.image_SHWC).all()


def images(path: Path) -> None:
    assert read_images([path]).image_SHWC.dtype == np.uint8


def metadata(path: Path) -> None:
    ModelMetadata.from_json(path.read_text("utf-8", errors="surrogateescape"), source=path.name).to_json()


KINDS: dict[str, Callable[[Path], object]] = {
    "model": segment,
    "contents": read_contents,
    "nifti": nifti,
    "images": images,
    "metadata": metadata,
}


def answer(kind: str, path: Path) -> str:
    try:
        KINDS[kind](path)
    except UserError as error:
        message = str(error)
        return f"refused {message}" if "; " in message and message.isprintable() else f"fault message {message!r}"
    except BaseException:  # noqa: BLE001 - told to the test
        return f"fault {traceback.format_exc()!r}"
    return "good"


def main() -> None:
    faulthandler.enable()  # a crash says where it was
    # What native libraries print must not pass for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(line: str) -> None:
        answers.write(f"{line}\n")
        answers.flush()

    kind, good = sys.argv[1], Path(sys.argv[2])
    first = answer(kind, good)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES,) * 2)
    tell(first)
    for line in sys.stdin:
        tell(answer(kind, Path(line.rstrip("\n"))))


if __name__ == "__main__":
    main()
