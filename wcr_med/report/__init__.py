"""What a run found, for people: summary.json, a one-page summary.md, and two figures."""

from wcr_med.report.document import (
    DataSummary,
    ExportSummary,
    LadderRow,
    ModelSummary,
    NetworkSummary,
    Score,
    TrainingSummary,
)
from wcr_med.report.figures import PatientCase, draw_patients, draw_sparsity, load_cases, pick_patients
from wcr_med.report.summary import PATIENTS_FIGURE, SPARSITY_FIGURE, write_summary
from wcr_med.report.summary_document import SummaryDocument

__all__ = [
    "PATIENTS_FIGURE",
    "SPARSITY_FIGURE",
    "DataSummary",
    "ExportSummary",
    "LadderRow",
    "ModelSummary",
    "NetworkSummary",
    "PatientCase",
    "Score",
    "SummaryDocument",
    "TrainingSummary",
    "draw_patients",
    "draw_sparsity",
    "load_cases",
    "pick_patients",
    "write_summary",
]
