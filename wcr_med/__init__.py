"""Segmentation networks that survive pruning: train, prune once, evaluate on patients, ship a small ONNX file."""

import os

__version__: str

__all__ = ["__version__"]

# Else ONNX Runtime, from 1.29 on, keeps an identifier and a database in the user's cache folder and sends what it notes
# to its maker. It looks at this while it is imported: here is the one place that comes before, in every process.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def __getattr__(name: str) -> str:
    # Looked up where it is asked for: the reader of installed packages takes longer to import than the command line.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wcr-med")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
