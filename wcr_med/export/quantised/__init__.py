"""A third file: the network computed in INT8, quantised with calibration patients.

Not to be taken for `export.values=int8`, which stores weights in int8 and computes in float32.
"""

from wcr_med.export.quantised.calibration import calibration_feeds
from wcr_med.export.quantised.export import QuantisedResult, export_quantised
from wcr_med.export.quantised.graph import quantise

__all__ = ["QuantisedResult", "calibration_feeds", "export_quantised", "quantise"]
