"""Opening model files, portable or accelerated, with ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.native.sessions import ORT_ERRORS, reason, register, require_memory, session_options
from wcr_med.onnx_file import read_contents, require_openable


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
        UserError: no such file, truncated, not ONNX, with parts that no network of ours has, too large, or accelerated
            where the accelerator cannot be used.
    """
    require_openable(read_contents(path))
    return open_checked(path, threads=threads)


def open_checked(path: Path | str, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """The same for a file that `require_openable` has passed.

    Raises:
        UserError: ONNX Runtime cannot load it, or it is accelerated and the accelerator cannot be used.
        MemoryError: too little memory.
    """
    options = session_options(threads=threads or 0)
    absent = None
    try:
        register(options)
    except UserError as error:  # portable files open all the same
        absent = str(error)
    try:
        return _open(path, options)
    except ORT_ERRORS as error:
        require_memory(error, path)
        if absent and f"{native.DOMAIN}:{native.OPERATOR}" in str(error):
            raise UserError(f"{path}: an accelerated file, but {absent}") from error
        raise UserError(
            f"{path}: not a whole ONNX model ({reason(error)}); copy it again or export the network again"
        ) from error


def _open(path: Path | str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    # The first session of a process makes the thread that opens it take denormal numbers for zero, for good: let it be
    # a thread that ends here.
    with ThreadPoolExecutor(max_workers=1) as opener:
        opened = opener.submit(
            onnxruntime.InferenceSession,
            path,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which would try again, and print what failed to standard output
        )
        return opened.result()
