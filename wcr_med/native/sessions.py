"""What every ONNX Runtime session of this package has in common: options, opening, the operator, errors in one line."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from wcr_med import native
from wcr_med.errors import UserError

# For older builds for Windows, and for programs that imported it before this package: see `wcr_med/__init__.py`.
onnxruntime.disable_telemetry_events()

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
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "failed to allocate memory")


def session_options(*, threads: int) -> onnxruntime.SessionOptions:
    """Options with all optimisations, without the operator.

    Args:
        threads: processor threads; 0 leaves the number to ONNX Runtime.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line
    # Pruned networks carry tiny activations; as denormal numbers they would slow some processors tenfold.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def open_apart(source: Path | str | bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Open a model for the CPU: the one place of this package that makes a session.

    The first session of a process makes the thread that opens it take denormal numbers (below 1.2e-38) for zero, for
    good: in numpy, torch and Python 1e-40 * 1 would be 0 there. So it is opened by a thread that ends here, and the
    arithmetic of the caller's thread is left as it is. ONNX Runtime's own threads go on taking denormals for zero.

    Args:
        source: a file, or a serialised model.
        options: see `session_options`.

    Raises:
        ORT_ERRORS: ONNX Runtime cannot load it.
    """
    with ThreadPoolExecutor(max_workers=1) as opener:
        opened = opener.submit(
            onnxruntime.InferenceSession,
            source,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which would try again, and print what failed to standard output
        )
        return opened.result()


def register(options: onnxruntime.SessionOptions) -> None:
    """Make the operator known to the sessions that get these options.

    Raises:
        UserError: the accelerator was not built, or does not load on this machine.
    """
    path = native.get_library_path()
    try:
        options.register_custom_ops_library(str(path))
    except ORT_ERRORS as error:
        raise UserError(
            f"the accelerator does not load here ({reason(error)}); install wcr-med again on this machine, or use the "
            "portable model file"
        ) from error


def require_memory(error: Exception, path: Path | str) -> None:
    """Tell want of memory from a fault of the file; ONNX Runtime raises both alike.

    Raises:
        MemoryError: the error is one of memory.
    """
    if any(words in str(error) for words in _NO_MEMORY):
        raise MemoryError(f"{path}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What the operator, else ONNX Runtime, has to say, without error codes, and paths that stand before "failed:"."""
    words = str(error).rsplit(f"{native.DOMAIN}.{native.OPERATOR}:", 1)[-1].rsplit("failed:", 1)[-1]
    return words.strip().split("\n", 1)[0].rstrip(".")[:200]
