"""Counts -> scores, surface distances, averages over patients, and how sure they are. Definitions: docs/metrics.md."""

from wcr_med.metrics.averages import Average, Terms, average_terms, averages
from wcr_med.metrics.counts import Counts, SliceCounts, count, count_slices
from wcr_med.metrics.distances import SurfaceDistances, surface_distances
from wcr_med.metrics.uncertainty import Interval, PairedComparison, bootstrap, compare

__all__ = [
    "Average",
    "Counts",
    "Interval",
    "PairedComparison",
    "SliceCounts",
    "SurfaceDistances",
    "Terms",
    "average_terms",
    "averages",
    "bootstrap",
    "compare",
    "count",
    "count_slices",
    "surface_distances",
]
