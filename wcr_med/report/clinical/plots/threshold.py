"""How much hangs on the threshold."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import NetworkAnalysis
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

_TITLE = "Mean Dice per patient at every threshold"


def draw_threshold(dense: NetworkAnalysis, pruned: NetworkAnalysis, *, prefix: str) -> str:
    """Draw dice_patient of the test patients against the threshold, with the thresholds that were used.

    A mark on the curve is a threshold chosen on validation patients, one for each partition. The bar below is the
    plateau: the stretch on which Dice lies within the margin of its best.
    """
    looks = ((dense, DENSE_COLOUR, "o", "-"), (pruned, PRUNED_COLOUR, "s", "--"))
    drawable = [entry for entry in looks if any(math.isfinite(p.dice_patient) for p in entry[0].threshold.points)]
    if not drawable:
        return note_only("No patient has a Dice at any threshold.", prefix, title=_TITLE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.8), layout="constrained")
        axes = figure.subplots()
        for place, (network, colour, marker, style) in enumerate(drawable):
            _curve(axes, network, colour, marker, style)
            _plateau(axes, network, colour, style, place)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.14, 1)
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_xlabel("threshold: a voxel counts as lesion from this probability on")
        axes.set_ylabel("mean Dice per patient, test")
        axes.grid()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return render(figure, prefix, title=_TITLE, description=" ".join(_describe(entry[0]) for entry in drawable))


def _curve(axes: Axes, network: NetworkAnalysis, colour: str, marker: str, style: str) -> None:
    x = np.array([point.threshold for point in network.threshold.points])
    y = np.array([point.dice_patient for point in network.threshold.points])
    axes.plot(x, y, color=colour, linestyle=style, linewidth=1.3, gid="mark-curve")
    chosen = np.array(list(network.threshold.chosen.values()))
    finite = np.isfinite(y)
    axes.plot(
        chosen, np.interp(chosen, x[finite], y[finite]), marker, color=colour, markerfacecolor="white", markersize=6,
        markeredgewidth=1.4, gid="mark-chosen",
    )  # fmt: skip
    axes.plot([], [], color=colour, linestyle=style, marker=marker, markerfacecolor="white",
              label=f"{network.label}, threshold used: {_used(network)}")  # fmt: skip


def _plateau(axes: Axes, network: NetworkAnalysis, colour: str, style: str, place: int) -> None:
    curve = network.threshold
    if not math.isfinite(curve.plateau_low):
        return
    y = -0.05 - 0.05 * place
    axes.plot([curve.plateau_low, curve.plateau_high], [y, y], color=colour, linewidth=3, linestyle=style,
              solid_capstyle="butt", gid="mark-plateau")  # fmt: skip
    if place == 0:
        text = f"at most {number(curve.plateau_loss)} below the best"
        axes.text(curve.plateau_high + 0.01, -0.075, text, va="center", fontsize=7, color=GREY)


def _used(network: NetworkAnalysis) -> str:
    values = sorted(set(network.threshold.chosen.values()))
    if not values:
        return "none"
    return f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"


def _describe(network: NetworkAnalysis) -> str:
    curve = network.threshold
    best = max((p for p in curve.points if math.isfinite(p.dice_patient)), key=lambda point: point.dice_patient)
    text = (
        f"{network.label}: threshold used {_used(network)}; the best test Dice of the curve is"
        f" {number(best.dice_patient)} at {best.threshold:.2f}"
    )
    if math.isfinite(curve.plateau_low):
        text += (
            f"; from {curve.plateau_low:.2f} to {curve.plateau_high:.2f} Dice lies at most"
            f" {number(curve.plateau_loss)} below the best"
        )
    return text + "."
