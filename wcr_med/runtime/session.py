"""Opening model files, portable or accelerated, with ONNX Runtime."""

from pathlib import Path

import onnxruntime

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.native.sessions import ORT_ERRORS, reason, register, session_options


def session(path: Path | str, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a model file for the CPU, with all of ONNX Runtime's optimisations.

    Portable files need nothing but ONNX Runtime. Accelerated ones (`*.accelerated.onnx`) also need the accelerator,
    which is registered here.

    ONNX Runtime is asked to take denormal numbers (below 1.2e-38) for zero. It sets this for good in the thread that
    opens the first session of a process, so other arithmetic of that thread does the same from then on.

    Args:
        path: an ONNX file.
        threads: processor threads, at least 1; `None` or 0 leaves the number to ONNX Runtime.

    Raises:
        UserError: no such file, truncated, not ONNX, or accelerated where the accelerator cannot be used.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give an ONNX file that `wcr-med export` wrote")
    options = session_options(threads=threads or 0)
    absent = None
    try:
        register(options)
    except UserError as error:  # portable files open all the same
        absent = str(error)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        if absent and f"{native.DOMAIN}:{native.OPERATOR}" in str(error):
            raise UserError(f"{path}: an accelerated file, but {absent}") from error
        raise UserError(
            f"{path}: not a whole ONNX model ({reason(error)}); copy it again or export the network again"
        ) from error
