"""Segmentation networks that survive pruning: train, prune once, evaluate on patients, ship a small ONNX file."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("wcr-med")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
