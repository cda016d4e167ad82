"""Counts -> scores, surface distances, averages over patients, and how sure they are. Definitions: docs/metrics.md."""

from wcr_med.metrics.averages import Average, Terms, average_terms, averages
from wcr_med.metrics.calibration import CalibrationCounts, count_calibration
from wcr_med.metrics.counts import Counts, SliceCounts, Tally, count, count_slices
from wcr_med.metrics.distances import SurfaceDistances, surface_distances
from wcr_med.metrics.lesions import DetectionCounts, LesionRow, LesionScores, score_lesions
from wcr_med.metrics.rates import rate_interval
from wcr_med.metrics.uncertainty import Interval, PairedComparison, bootstrap, compare

__all__ = [
    "Average",
    "CalibrationCounts",
    "Counts",
    "DetectionCounts",
    "Interval",
    "LesionRow",
    "LesionScores",
    "PairedComparison",
    "SliceCounts",
    "SurfaceDistances",
    "Tally",
    "Terms",
    "average_terms",
    "averages",
    "bootstrap",
    "compare",
    "count",
    "count_calibration",
    "count_slices",
    "rate_interval",
    "score_lesions",
    "surface_distances",
]
