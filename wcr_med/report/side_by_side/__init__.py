"""Two runs on the patients that both were tested on: paired differences, a page, JSON and a table."""

from wcr_med.report.side_by_side.compare import compare_runs
from wcr_med.report.side_by_side.document import RunEvaluation, SideBySide
from wcr_med.report.side_by_side.write import write_side_by_side

__all__ = ["RunEvaluation", "SideBySide", "compare_runs", "write_side_by_side"]
