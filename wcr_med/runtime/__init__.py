"""Segmentation at the edge: ONNX Runtime and numpy, and neither PyTorch nor MONAI."""

from wcr_med.native import get_library_path
from wcr_med.runtime.finding import find_sources
from wcr_med.runtime.infer import infer
from wcr_med.runtime.report import InferenceReport, SegmentedVolume
from wcr_med.runtime.result import Result
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.session import session
from wcr_med.runtime.sources import Failure, Found, Source

__all__ = [
    "Failure",
    "Found",
    "InferenceReport",
    "Result",
    "SegmentedVolume",
    "Segmenter",
    "Source",
    "find_sources",
    "get_library_path",
    "infer",
    "session",
]
