"""A comparison of two runs as files."""

import csv
import io
from pathlib import Path

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
    write_text(folder / "per_patient.csv", _table(comparison))
    write_text(folder / PAGE, page)
    return folder / PAGE


def _table(comparison: SideBySide) -> str:
    """One line a patient, the largest loss first; a score that does not exist is an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("a", "b", "difference")
    voxels = ("reference_voxels", "a_voxels", "b_voxels")
    writer.writerow(["patient_id", "institution", *(f"dice_{name}" for name in names), *voxels, "changes"])
    for line in comparison.patients:
        scores = [getattr(line, name) for name in names]
        writer.writerow(
            [
                line.patient_id,
                line.institution,
                *("" if score != score else f"{score:.6f}" for score in scores),
                *(getattr(line, name) for name in voxels),
                "; ".join(line.changes),
            ]
        )
    return stream.getvalue()
