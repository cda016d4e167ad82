"""Opening model files, portable or accelerated, with ONNX Runtime."""

from pathlib import Path

import onnxruntime

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.native.sessions import ORT_ERRORS, open_apart, reason, register, require_memory, session_options
from wcr_med.onnx_file import CHECKSUM_KEY, ModelContents, read_contents, require_openable


def session(path: Path | str, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a model file for the CPU, with all of ONNX Runtime's optimisations.

    What the file holds is read and checked before ONNX Runtime gets it; see `wcr_med.onnx_file`. Portable
    files need nothing but ONNX Runtime. Accelerated ones (`*.accelerated.onnx`) also need the accelerator, which is
    registered here.

    ONNX Runtime's own threads take denormal numbers (below 1.2e-38) for zero. The arithmetic of the caller's thread is
    left as it is.

    Args:
        path: an ONNX file.
        threads: processor threads, at least 1; `None` or 0 leaves the number to ONNX Runtime.

    Raises:
        UserError: no such file, truncated, not ONNX, not as its checksum says, with parts that no network of ours has,
            too large, or accelerated where the accelerator cannot be used.
    """
    contents = read_contents(path)
    require_openable(contents)
    return open_checked(contents, threads=threads)


def open_checked(contents: ModelContents, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """The same for a file that `require_openable` has passed.

    Raises:
        UserError: ONNX Runtime cannot load it, it was replaced since it was read, or it is accelerated and the
            accelerator cannot be used.
        MemoryError: too little memory.
    """
    path = contents.path
    options = session_options(threads=threads or 0)
    absent = None
    try:
        register(options)
    except UserError as error:  # portable files open all the same
        absent = str(error)
    try:
        opened = open_apart(path, options)
    except ORT_ERRORS as error:
        require_memory(error, path)
        if absent and f"{native.DOMAIN}:{native.OPERATOR}" in str(error):
            raise UserError(f"{path}: an accelerated file, but {absent}") from error
        raise UserError(
            f"{path}: not a whole ONNX model ({reason(error)}); copy it again or export the network again"
        ) from error
    if opened.get_modelmeta().custom_metadata_map.get(CHECKSUM_KEY) != contents.sha256:
        raise UserError(f"{path}: was replaced while it was opened; give it again once no program writes it")
    return opened
