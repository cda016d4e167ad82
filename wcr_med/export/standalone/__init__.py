"""A model file that other programs use without this package: raw 8-bit slices in, a mask out."""

from wcr_med.export.standalone.assembly import IMAGE, MASK, PROBABILITY, build_standalone
from wcr_med.export.standalone.export import StandaloneResult, standalone_of
from wcr_med.export.standalone.gate import StandaloneParity

__all__ = [
    "IMAGE",
    "MASK",
    "PROBABILITY",
    "StandaloneParity",
    "StandaloneResult",
    "build_standalone",
    "standalone_of",
]
