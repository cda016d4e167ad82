"""Segmentation at the edge: ONNX Runtime and numpy, and neither PyTorch nor MONAI."""

from wcr_med.native import get_library_path
from wcr_med.runtime.infer import InferenceReport, SegmentedVolume, infer
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.session import session
from wcr_med.runtime.sources import Failure, Found, Source, find_sources

__all__ = [
    "Failure",
    "Found",
    "InferenceReport",
    "SegmentedVolume",
    "Segmenter",
    "Source",
    "find_sources",
    "get_library_path",
    "infer",
    "session",
]
