"""ONNX Runtime sessions for checking and measuring what was exported."""

from pathlib import Path

import onnxruntime
from onnx import ModelProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from wcr_med import native
from wcr_med.errors import UserError


def open_session(source: Path | ModelProto, *, threads: int) -> onnxruntime.InferenceSession:
    """Open a model, portable or accelerated, with all of ONNX Runtime's optimisations, on the CPU.

    Args:
        source: a file, or a model in memory.
        threads: processor threads.
    """
    options = _options()
    options.intra_op_num_threads = threads
    # Several sessions take turns: one that has ended must not go on waiting actively beside the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    content = source if isinstance(source, Path) else source.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def require_accelerator() -> None:
    """Stop where accelerated models cannot be run.

    Raises:
        UserError: the accelerator was not built, or does not load on this machine.
    """
    native.get_library_path()
    try:
        _options()
    except (ort_errors.Fail, ort_errors.RuntimeException, RuntimeError) as error:
        raise UserError(
            f"{native.get_library_path()}: the accelerator does not load here ({error}); install wcr-med again on this "
            "machine, or export without --accelerate"
        ) from error


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if native.is_available():
        options.register_custom_ops_library(str(native.get_library_path()))
    return options
