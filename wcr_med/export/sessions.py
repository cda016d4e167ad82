"""ONNX Runtime sessions for checking and measuring what was exported."""

import contextlib
from pathlib import Path

import onnxruntime
from onnx import ModelProto

from wcr_med.errors import UserError
from wcr_med.native.sessions import open_apart, register, session_options


def open_session(source: Path | ModelProto, *, threads: int) -> onnxruntime.InferenceSession:
    """Open a model, portable or accelerated, with all of ONNX Runtime's optimisations, on the CPU.

    The arithmetic of the caller's thread is left as it is; see `wcr_med.native.sessions.open_apart`.

    Args:
        source: a file, or a model in memory.
        threads: processor threads.
    """
    options = session_options(threads=threads)
    # Several sessions take turns: one that has ended must not go on waiting actively beside the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    with contextlib.suppress(UserError):  # portable models open all the same
        register(options)
    return open_apart(source if isinstance(source, Path) else source.SerializeToString(), options)


def require_accelerator() -> None:
    """Stop where accelerated models cannot be run.

    Raises:
        UserError: the accelerator was not built, or does not load on this machine.
    """
    try:
        register(session_options(threads=1))
    except UserError as error:
        raise UserError(f"export.accelerate: {error}") from error
