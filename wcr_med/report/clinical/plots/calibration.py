"""Reliability diagram with counts."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import Calibration, NetworkAnalysis
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

_TITLE = "Reliability of the predicted probabilities"


def draw_reliability(dense: NetworkAnalysis, pruned: NetworkAnalysis, *, prefix: str) -> str:
    """Draw the observed share of lesion against the mean predicted probability, and the voxels of each bin beside it.

    Empty bins have no point. On the diagonal a probability means what it says; below it the network is too sure.
    """
    looks = [
        (network.calibration, network.label, colour, marker, style, shift)
        for network, colour, marker, style, shift in (
            (dense, DENSE_COLOUR, "o", "-", -0.003),
            (pruned, PRUNED_COLOUR, "s", "--", 0.003),
        )
        if network.calibration is not None and network.calibration.n_voxels > 0
    ]
    if not looks:
        return note_only("No voxel is in question: there is no calibration to show.", prefix, title=_TITLE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 3.2), layout="constrained")
        curve, counts = figure.subplots(1, 2, width_ratios=(1, 1))
        curve.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="perfect calibration")
        for calibration, label, colour, marker, style, shift in looks:
            _curve(curve, calibration, label, colour, marker, style, shift)
            _counts(counts, calibration, label, colour, style)
        curve.set_xlim(-0.02, 1.02)
        curve.set_ylim(-0.02, 1.02)
        curve.set_aspect("equal")
        curve.set_xlabel("mean predicted probability of the bin")
        curve.set_ylabel("observed share of lesion voxels")
        curve.grid()
        curve.legend(loc="upper left")
        counts.set_yscale("log")
        counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
        counts.minorticks_off()
        counts.set_xlim(-0.02, 1.02)
        counts.set_xlabel("predicted probability")
        counts.set_ylabel("voxels in question")
        counts.grid(axis="y")
        counts.legend(loc="upper center")
        description = " ".join(_describe(calibration, label) for calibration, label, *_ in looks)
        return render(figure, prefix, title=_TITLE, description=description)


def _curve(
    axes: Axes, calibration: Calibration, label: str, colour: str, marker: str, style: str, shift: float
) -> None:
    bins = [entry for entry in calibration.bins if entry.n_voxels > 0 and math.isfinite(entry.observed.value)]
    x = np.array([entry.mean_probability for entry in bins])
    y = np.array([entry.observed.value for entry in bins])
    low = np.array([entry.observed.value if entry.observed.low is None else entry.observed.low for entry in bins])
    high = np.array([entry.observed.value if entry.observed.high is None else entry.observed.high for entry in bins])
    axes.vlines(x + shift, low, high, color=colour, linewidth=0.9, alpha=0.8, gid="mark-interval")
    axes.plot(x + shift, y, color=colour, marker=marker, linestyle=style, markersize=3.6, linewidth=1.1,
              label=label, gid="mark-bins")  # fmt: skip


def _counts(axes: Axes, calibration: Calibration, label: str, colour: str, style: str) -> None:
    edges = [*(entry.low for entry in calibration.bins), calibration.bins[-1].high]
    counts = [max(entry.n_voxels, 0.5) for entry in calibration.bins]  # an empty bin lies on the floor of the log axis
    axes.stairs(counts, edges, baseline=0.5, color=colour, linestyle=style, linewidth=1.2, label=label)


def _describe(calibration: Calibration, label: str) -> str:
    ece = calibration.ece
    return (
        f"{label}: expected calibration error {number(ece.value)} ({span(ece.low, ece.high)}) over"
        f" {calibration.n_voxels:,} voxels in question; mean probability minus observed share"
        f" {number(calibration.over_confidence, signed=True)}."
    )
