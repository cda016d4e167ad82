"""Dice of every patient, dense to pruned, as arrows."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wcr_med.report.analysis.document import Comparison, PatientPair, Statistics
from wcr_med.report.clinical.formats import counted, number
from wcr_med.report.clinical.plots.svg import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    VERMILLION,
    WIDTH_IN,
    figure_style,
    note_only,
    render,
)

_TITLE = "Dice of every patient, from dense to pruned"
_ONE_COLUMN = 42  # patients
_ROW_IN, _LARGEST_IN = 0.125, 8.6  # a row; all rows of a column on one page
_LEAST_LABEL_IN = 0.075  # below this height of a row names would overlap


def draw_patients(comparison: Comparison, statistics: Statistics, *, prefix: str) -> str:
    """Draw one line a patient, the best dense Dice first: a circle for dense, an arrow head for pruned.

    Changes by more than `worse_by` are coloured, and their heads point the way. A Dice that does not exist because its
    network rightly predicted nothing stands at 1 as a square, as it counts in the difference. Patients for whom neither
    exists are listed last. More than 42 patients stand in two columns.
    """
    pairs = _sorted(comparison.pairs)
    if not pairs:
        return note_only("No test patient.", prefix, title=_TITLE)
    n_columns = 1 if len(pairs) <= _ONE_COLUMN else 2
    n_rows = math.ceil(len(pairs) / n_columns)
    row_in = min(_ROW_IN, _LARGEST_IN / n_rows)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, row_in * (n_rows + 1) + 0.85), layout="constrained")
        panels = figure.subplots(1, n_columns, squeeze=False)[0]
        lowest = min(
            (value for pair in pairs for value in (pair.dense, pair.pruned) if math.isfinite(value)), default=0
        )
        for place, axes in enumerate(panels):
            _panel(axes, pairs[place * n_rows : (place + 1) * n_rows], n_rows, row_in, lowest, statistics.worse_by)
        figure.legend(
            handles=_legend(statistics.worse_by, pairs), loc="outside lower center", ncols=3, handletextpad=0.5
        )
        return render(figure, prefix, title=_TITLE, description=_describe(comparison, statistics))


def _sorted(pairs: Sequence[PatientPair]) -> list[PatientPair]:
    """By dense Dice, the best first; a right "nothing there" counts as 1; without any difference last."""
    return sorted(pairs, key=lambda pair: (math.isnan(pair.difference), -_place(pair.dense), pair.patient_id))


def _place(dice: float) -> float:
    return dice if math.isfinite(dice) else 1.0


def _panel(
    axes: Axes, pairs: Sequence[PatientPair], n_rows: int, row_in: float, lowest: float, worse_by: float
) -> None:
    axes.set_xlim(-0.03 if lowest < 0.5 else math.floor(10 * lowest - 0.5) / 10, 1.015)
    axes.set_ylim(n_rows - 0.3, -0.7)
    size = min(5.0, 72 * row_in * 0.55)
    left = axes.get_xlim()[0]
    axes.hlines(np.arange(len(pairs)), left, 1, color=LIGHT, linewidth=0.4)
    for row, pair in enumerate(pairs):
        if math.isnan(pair.difference):
            text = "no lesion and none predicted: no Dice"
            axes.text(left + 0.02, row, text, va="center", fontsize=6, color=GREY, style="italic", gid="mark-undefined")
    defined = [(row, pair) for row, pair in enumerate(pairs) if not math.isnan(pair.difference)]
    for (colour, head), rows in _by_look(defined, worse_by).items():
        at = [row for row, _ in rows]
        axes.hlines(
            at, [_place(pair.dense) for _, pair in rows], [_place(pair.pruned) for _, pair in rows], color=colour,
            linewidth=1.1, gid="mark-change",
        )  # fmt: skip
        _marks(axes, [(row, pair.pruned) for row, pair in rows], head, colour, size, "mark-pruned")
    _marks(axes, [(row, pair.dense) for row, pair in defined], "o", GREY, size, "mark-dense")
    font = min(6.5, 72 * row_in * 0.8)
    names = [pair.patient_id for pair in pairs] if row_in >= _LEAST_LABEL_IN else [""] * len(pairs)
    axes.set_yticks(np.arange(len(pairs)), names, fontsize=font)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("Dice of the volume")
    axes.axvline(1, color=LIGHT, linewidth=0.6)


def _marks(axes: Axes, values: Sequence[tuple[int, float]], marker: str, colour: str, size: float, gid: str) -> None:
    """One mark a row; squares at 1 where the value does not exist. Dense marks are hollow."""
    face = "white" if gid == "mark-dense" else colour
    for shape, chosen in (
        (marker, [(row, value) for row, value in values if math.isfinite(value)]),
        ("s", [(row, 1.0) for row, value in values if not math.isfinite(value)]),
    ):
        if chosen:
            axes.plot(
                [value for _, value in chosen], [row for row, _ in chosen], shape, markersize=size, color=colour,
                markerfacecolor=face, clip_on=False, gid=gid,
            )  # fmt: skip


def _by_look(
    rows: Sequence[tuple[int, PatientPair]], worse_by: float
) -> dict[tuple[str, str], list[tuple[int, PatientPair]]]:
    looks: dict[tuple[str, str], list[tuple[int, PatientPair]]] = {}
    for row, pair in rows:
        looks.setdefault(_look(pair.difference, worse_by), []).append((row, pair))
    return looks


def _look(difference: float, worse_by: float) -> tuple[str, str]:
    if difference < -worse_by:
        return VERMILLION, "<"
    return (BLUE, ">") if difference > worse_by else (GREY, "|")


def _legend(worse_by: float, pairs: Sequence[PatientPair]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none", label="dense"),
        Line2D([], [], color=VERMILLION, marker="<", linestyle="-", label=f"pruned, lower by more than {worse_by:g}"),
        Line2D([], [], color=BLUE, marker=">", linestyle="-", label=f"pruned, higher by more than {worse_by:g}"),
        Line2D([], [], color=GREY, marker="|", linestyle="-", label="pruned, changed by less"),
    ]
    if any(math.isfinite(pair.difference) and not math.isfinite(pair.dense + pair.pruned) for pair in pairs):
        handles.append(
            Line2D([], [], color=INK, marker="s", markerfacecolor="white", linestyle="none",
                   label="rightly nothing, counts as 1")
        )  # fmt: skip
    return handles


def _describe(comparison: Comparison, statistics: Statistics) -> str:
    pairs = [pair for pair in comparison.pairs if math.isfinite(pair.difference)]
    undefined = len(comparison.pairs) - len(pairs)
    paired = comparison.paired
    text = [
        f"{counted(len(comparison.pairs), 'patient')}, sorted by the Dice of the dense network.",
        f"Pruning ({comparison.label}) lowered Dice by more than {statistics.worse_by:g} in {paired.n_worse} and raised"
        f" it by more than {statistics.worse_by:g} in {paired.n_better}.",
    ]
    for label, values in (("Dense", [pair.dense for pair in pairs]), ("Pruned", [pair.pruned for pair in pairs])):
        finite = np.array([value for value in values if math.isfinite(value)])
        if finite.size:
            low, middle, high = np.quantile(finite, [0, 0.5, 1])
            text.append(f"{label}: lowest {number(low)}, median {number(middle)}, highest {number(high)}.")
    worst = min(pairs, key=lambda pair: pair.difference, default=None)
    if worst is not None and worst.difference < 0:
        text.append(
            f"The largest loss is {number(worst.difference)} in {worst.patient_id}"
            f" ({number(worst.dense)} to {number(worst.pruned)})."
        )
    if undefined:
        text.append(f"{counted(undefined, 'patient')} without lesion and prediction: no Dice.")
    return " ".join(text)
