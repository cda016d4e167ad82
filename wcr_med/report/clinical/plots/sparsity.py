"""Dice against sparsity."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from wcr_med.report.clinical.formats import number, percent, span
from wcr_med.report.clinical.plots.svg import WIDTH_IN, figure_style, note_only, render
from wcr_med.report.document import LadderRow
from wcr_med.report.figures import sparsity_panel

_TITLE = "Dice against sparsity, on test patients"


def draw_ladder(ladder: Sequence[LadderRow], *, prefix: str) -> str:
    """Draw dice_patient and f1_pooled against sparsity, as pruned and repaired, with intervals."""
    if not any(math.isfinite(row.dice_patient.value) for row in ladder):
        return note_only("No other sparsity was scored on the test patients.", prefix, title=_TITLE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 3.0), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, name, title in (
            (panels[0], "dice_patient", "Dice per patient, mean"),
            (panels[1], "f1_pooled", "Dice of all voxels together (F1)"),
        ):
            sparsity_panel(axes, ladder, name)
            axes.set_title(title)
            axes.tick_params(axis="x", labelsize=7)
        panels[0].set_ylabel("Dice on test patients")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return render(figure, prefix, title=_TITLE, description=_describe(ladder))


def _describe(ladder: Sequence[LadderRow]) -> str:
    parts = []
    for row in sorted(ladder, key=lambda row: (row.sparsity, bool(row.repair))):
        score = row.dice_patient
        how = " repaired" if row.repair else " as pruned" if row.sparsity else ""
        parts.append(f"{percent(row.sparsity)}{how} {number(score.value)} ({span(score.low, score.high)})")
    return "Mean Dice per patient by sparsity: " + "; ".join(parts) + "."
