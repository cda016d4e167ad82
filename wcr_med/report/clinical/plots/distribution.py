"""How the scores of single patients are spread, dense beside pruned."""

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.evaluation.result import EvaluationResult, PatientRow
from wcr_med.report.clinical.formats import number
from wcr_med.report.clinical.plots.svg import (
    DENSE_COLOUR,
    GREY,
    PRUNED_COLOUR,
    WIDTH_IN,
    figure_style,
    note_only,
    render,
)

Array = npt.NDArray[np.float64]

_TITLE = "Scores of single patients, dense beside pruned"
_COLUMNS = 4


def draw_distribution(dense: EvaluationResult, pruned: EvaluationResult, *, label: str, prefix: str) -> str:
    """Draw a panel a score: a line a patient from dense to pruned, and a box of median and quartiles for each network.

    Patients for whom a score does not exist under a network have no mark there; the title of the panel counts the
    patients with both.

    Args:
        dense: its result.
        pruned: its result, on the same patients in any order.
        label: of the pruned network.
        prefix: of the ids.
    """
    scores = _scores(dense, pruned)
    scores = {name: pair for name, pair in scores.items() if np.isfinite(pair).any()}
    if not scores:
        return note_only("No score exists for any patient.", prefix, title=_TITLE)
    n_lines = math.ceil(len(scores) / _COLUMNS)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.1 * n_lines), layout="constrained")
        grid = figure.subplots(n_lines, _COLUMNS, squeeze=False)
        for axes, (name, pair) in zip(grid.flat, scores.items(), strict=False):
            _panel(axes, pair, label)
            n_both = int(np.isfinite(pair).all(axis=0).sum())
            axes.set_title(f"{name} (n = {n_both})", fontsize=8)
            if name.startswith("HD95"):
                axes.set_ylim(bottom=0)
            elif name != "volume error":
                axes.set_ylim(-0.03, 1.03)
            else:
                axes.axhline(0, color=GREY, linewidth=0.7)
        for axes in list(grid.flat)[len(scores) :]:
            axes.set_visible(False)
        return render(figure, prefix, title=_TITLE, description=_describe(scores, label))


def _scores(dense: EvaluationResult, pruned: EvaluationResult) -> dict[str, Array]:
    """By name of the panel: two rows, dense and pruned, a column a patient."""
    after = {row.patient_id: row for row in pruned.rows}
    pairs = [(row, after[row.patient_id]) for row in dense.rows if row.patient_id in after]

    def both(value: str, key: str | None = None) -> Array:
        return (
            np.array([[_value(row, value, key) for row in pair] for pair in pairs], dtype=np.float64).reshape(-1, 2).T
        )

    tolerances = list(dict.fromkeys(key for row in dense.rows for key in row.nsd))
    return {
        "Dice": both("dice"),
        "IoU": both("iou"),
        "precision": both("precision"),
        "recall": both("recall"),
        **{f"NSD {key} px": both("nsd", key) for key in tolerances},
        "HD95, px": both("hd95_px"),
        "volume error": both("relative_volume_error"),
    }


def _value(row: PatientRow, name: str, key: str | None) -> float:
    value = getattr(row, name) if key is None else row.nsd.get(key, math.nan)
    return float(value)


def _panel(axes: Axes, pair: Array, label: str) -> None:
    complete = np.isfinite(pair).all(axis=0)
    # One path with gaps for all lines: the file stays small.
    x = np.tile([0.2, 0.8, np.nan], int(complete.sum()))
    y = np.vstack([pair[:, complete], np.full((1, int(complete.sum())), np.nan)]).T.ravel()
    axes.plot(x, y, color=GREY, linewidth=0.5, alpha=0.45, gid="mark-pairs")
    looks = ((0, 0.0, DENSE_COLOUR, "o", 0.2), (1, 1.0, PRUNED_COLOUR, "s", 0.8))
    for row, place, colour, marker, end in looks:
        values = pair[row][np.isfinite(pair[row])]
        axes.plot(np.full(len(values), end), values, marker, color=colour, markersize=2, alpha=0.7, gid="mark-patients")
        if len(values):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            axes.bar(place, high - low, 0.22, bottom=low, facecolor="none", edgecolor=colour, linewidth=1.1)
            axes.plot([place - 0.15, place + 0.15], [middle, middle], color=colour, linewidth=2, gid="mark-median")
    axes.use_sticky_edges = False  # a box would hold the axis to its edge
    axes.margins(y=0.08)
    axes.set_xlim(-0.35, 1.35)
    axes.set_xticks([0, 1], ["dense", label.replace(" sparsity", "")])
    axes.grid(axis="y")


def _describe(scores: dict[str, Array], label: str) -> str:
    parts = []
    for name, pair in scores.items():
        told = []
        for values, who in zip(pair, ("dense", label), strict=True):
            finite = values[np.isfinite(values)]
            if finite.size:
                low, middle, high = (number(float(q)) for q in np.quantile(finite, [0.25, 0.5, 0.75]))
                told.append(f"{who} {middle} ({low} to {high})")
        parts.append(f"{name}: {', '.join(told)}")
    return "Medians and quartiles over patients. " + "; ".join(parts) + "."
