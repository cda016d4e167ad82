"""Dice under disturbed images, dense against pruned: small multiples."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import Analysis, RobustnessCurve
from wcr_med.report.clinical.formats import number, span
from wcr_med.report.clinical.plots.svg import (
    DENSE_COLOUR,
    GREY,
    PRUNED_COLOUR,
    WIDTH_IN,
    figure_style,
    note_only,
    render,
)

_TITLE = "Mean Dice per patient under disturbed images"
_COLUMNS = 3


def draw_robustness(analysis: Analysis, *, prefix: str) -> str:
    """Draw a panel a disturbance: mean Dice and interval against its strength, dense and primary pruned network."""
    curves = [curve for curve in analysis.robustness if curve.network in (analysis.dense.name, analysis.primary)]
    names = list(dict.fromkeys(curve.disturbance for curve in curves))
    if not names or not any(math.isfinite(step.dice.value) for curve in curves for step in curve.steps):
        return note_only("Disturbed images were not scored.", prefix, title=_TITLE)
    n_columns = min(_COLUMNS, len(names))
    n_lines = math.ceil(len(names) / n_columns)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.15 * n_lines + 0.4), layout="constrained")
        grid = figure.subplots(n_lines, _COLUMNS, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            _panel(axes, [curve for curve in curves if curve.disturbance == name], analysis)
            axes.set_title(name.replace("_", " "))
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        for line in grid:
            line[0].set_ylabel("mean Dice")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return render(figure, prefix, title=_TITLE, description=_describe(curves, names, analysis))


def _panel(axes: Axes, curves: Sequence[RobustnessCurve], analysis: Analysis) -> None:
    places = sorted({step.strength for curve in curves for step in curve.steps})
    for curve in curves:
        dense = curve.network == analysis.dense.name
        # Strengths are grades, not measures of one kind: one step each, side by side.
        x = np.array([places.index(step.strength) for step in curve.steps]) + (-0.06 if dense else 0.06)
        y = np.array([step.dice.value for step in curve.steps])
        low = np.array(
            [value if step.dice.low is None else step.dice.low for step, value in zip(curve.steps, y, strict=True)]
        )
        high = np.array(
            [value if step.dice.high is None else step.dice.high for step, value in zip(curve.steps, y, strict=True)]
        )
        colour, marker, style = (DENSE_COLOUR, "o", "-") if dense else (PRUNED_COLOUR, "s", "--")
        axes.errorbar(
            x, y, yerr=np.clip([y - low, high - y], 0, None), color=colour, marker=marker, linestyle=style,
            markersize=4, linewidth=1.1, elinewidth=0.9, capsize=2, label=analysis.network(curve.network).label,
        )  # fmt: skip
    axes.set_xticks(range(len(places)), ["none" if place == 0 else f"{place:g}" for place in places])
    axes.set_xlim(-0.4, max(len(places) - 0.6, 0.4))
    axes.set_ylim(-0.02, 1.0)
    axes.set_xlabel(_wrapped(curves[0].unit), fontsize=7, color=GREY)
    axes.grid(axis="y")


def _wrapped(text: str, width: int = 40) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def _describe(curves: Sequence[RobustnessCurve], names: Sequence[str], analysis: Analysis) -> str:
    text = []
    for name in names:
        parts = []
        for curve in curves:
            if curve.disturbance == name and curve.steps:
                first, last = curve.steps[0].dice, curve.steps[-1].dice
                ends = span(last.low, last.high)
                label = analysis.network(curve.network).label
                parts.append(f"{label} {number(first.value)} to {number(last.value)} ({ends})")
        text.append(f"{name.replace('_', ' ')}, from none to the strongest: {'; '.join(parts)}.")
    return " ".join(text)
