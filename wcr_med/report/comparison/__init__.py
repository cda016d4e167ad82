"""The comparison of training methods: result files -> rows -> Markdown, CSV, JSON and figures."""

from wcr_med.report.comparison.rows import MethodRow, build_rows
from wcr_med.report.comparison.write import Comparison, write_comparison

__all__ = ["Comparison", "MethodRow", "build_rows", "write_comparison"]
