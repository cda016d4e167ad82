"""Analyse, draw, render, and put everything that a report consists of into one folder."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError, printable_lines
from wcr_med.evaluation.stored import mask_path
from wcr_med.evaluation.tables import LESION_COLUMNS, lesion_records, patient_record, write_records
from wcr_med.files import explain_os_errors, write_json, write_text
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.card import model_card
from wcr_med.report.clinical.crosswalk import crosswalk
from wcr_med.report.clinical.drawing import draw_figures
from wcr_med.report.clinical.gallery import gallery
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.page import render_page

_LOG = logging.getLogger(__name__)

PAGE = "report.html"
"""Name of the page in the folder of a report."""


def write_report(inputs: ReportInputs, folder: Path, *, analysis: Analysis | None = None) -> Path:
    """Write the report of a run; what an earlier one left in `folder` under the same names is replaced.

    All files are made in a hidden folder first and renamed at the end, the page last: a report that fails leaves the
    earlier one as it was.

    Args:
        inputs: what it is made of; no network is needed.
        folder: gets report.html, metrics.json, per_patient.csv, per_lesion.csv, model_card.json and
            masks/NETWORK/PATIENT.nii.gz.
        analysis: of the same inputs; made here where it is `None`.

    Returns:
        The path of the page.

    Raises:
        UserError: the inputs do not fit together, a stored mask is missing, or the folder cannot be written.
    """
    analysis = analysis or analyse(inputs)
    _LOG.info("report: %d networks on %d patients analysed; drawing", len(analysis.networks), analysis.n_patients)
    page = render_page(
        inputs,
        analysis,
        figures=draw_figures(inputs, analysis),
        cases=gallery(inputs, analysis),
        guidelines=crosswalk(inputs, analysis),
    )
    with _staged(folder) as stage:
        _copy_masks(inputs, stage / "masks")
        write_json(stage / "metrics.json", analysis.to_dict())
        write_json(stage / "model_card.json", model_card(inputs, analysis).to_dict())
        write_records(stage / "per_patient.csv", _patient_lines(inputs))
        write_records(stage / "per_lesion.csv", _lesion_lines(inputs), columns=("network", *LESION_COLUMNS))
        write_text(stage / PAGE, printable_lines(page))
    return folder / PAGE


def _patient_lines(inputs: ReportInputs) -> list[dict[str, Any]]:
    """One line a patient and network."""
    return [
        {"network": network.name, **patient_record(row)} for network in inputs.networks for row in network.result.rows
    ]


def _lesion_lines(inputs: ReportInputs) -> list[dict[str, Any]]:
    """One line a reference lesion and network."""
    return [
        {"network": network.name, **record}
        for network in inputs.networks
        for row in network.result.rows
        for record in lesion_records(row)
    ]


def _copy_masks(inputs: ReportInputs, target: Path) -> None:
    for network in inputs.networks:
        (target / network.name).mkdir(parents=True)
        for row in network.result.rows:
            source = mask_path(network.folders[row.patient_id], row.patient_id)
            try:
                shutil.copyfile(source, target / network.name / source.name)
            except FileNotFoundError:
                raise UserError(
                    f"{source}: the stored mask of {network.name} is missing; run `wcr-med evaluate` again"
                ) from None


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder within `folder` whose content moves up once all of it is there, the page last."""
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            yield stage
            for path in sorted(stage.iterdir(), key=lambda path: path.name == PAGE):
                if path.is_dir():
                    shutil.rmtree(folder / path.name, ignore_errors=True)
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
