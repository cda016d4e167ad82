"""A comparison of two runs as files."""

from pathlib import Path
from typing import Any

from wcr_med.errors import printable_lines
from wcr_med.evaluation.tables import write_records
from wcr_med.files import write_json, write_text
from wcr_med.report.side_by_side.document import SideBySide
from wcr_med.report.side_by_side.page import render_comparison

PAGE = "compare.html"


def write_side_by_side(comparison: SideBySide, folder: Path) -> Path:
    """Write compare.html, compare.json and per_patient.csv into a folder, made if it is missing.

    Returns:
        The path of the page.
    """
    page = render_comparison(comparison)  # before anything is written
    write_json(folder / "compare.json", comparison.to_dict())
    write_records(folder / "per_patient.csv", _records(comparison))
    write_text(folder / PAGE, printable_lines(page))
    return folder / PAGE


def _records(comparison: SideBySide) -> list[dict[str, Any]]:
    """One line a patient, the largest loss first."""
    return [
        {
            "patient_id": line.patient_id,
            "institution": line.institution,
            "dice_a": line.a,
            "dice_b": line.b,
            "dice_difference": line.difference,
            "reference_voxels": line.reference_voxels,
            "a_voxels": line.a_voxels,
            "b_voxels": line.b_voxels,
            "changes": "; ".join(line.changes),
        }
        for line in comparison.patients
    ]
