"""Opening model files, portable or accelerated, with ONNX Runtime."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from wcr_med import native
from wcr_med.errors import UserError

# ONNX Runtime's exceptions have no common base below Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
)


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
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line
    # Pruned networks carry tiny activations; as denormal numbers they would slow some processors tenfold.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    absent = _register(options)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        if absent and f"{native.DOMAIN}:{native.OPERATOR}" in str(error):
            raise UserError(f"{path}: an accelerated file, but {absent}") from error
        raise UserError(
            f"{path}: not a whole ONNX model ({reason(error)}); copy it again or export the network again"
        ) from error


def reason(error: Exception) -> str:
    """What the operator, else ONNX Runtime, has to say, without error codes, and paths that stand before "failed:"."""
    words = str(error).rsplit(f"{native.DOMAIN}.{native.OPERATOR}:", 1)[-1].rsplit("failed:", 1)[-1]
    return words.strip().split("\n", 1)[0].rstrip(".")[:200]


def _register(options: onnxruntime.SessionOptions) -> str | None:
    """Make the operator known; why that was not possible otherwise. Portable files open all the same."""
    try:
        options.register_custom_ops_library(str(native.get_library_path()))
    except UserError as error:
        return str(error)
    except ORT_ERRORS as error:
        return f"the accelerator does not load here ({reason(error)}); install wcr-med again on this machine"
    return None
