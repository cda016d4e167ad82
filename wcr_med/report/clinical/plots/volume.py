"""Bland-Altman: predicted against reference volume."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import NetworkAnalysis, VolumeAgreement
from wcr_med.report.clinical.formats import counted, number, span
from wcr_med.report.clinical.plots.svg import (
    DENSE_COLOUR,
    GREY,
    PRUNED_COLOUR,
    WIDTH_IN,
    figure_style,
    note_only,
    render,
)
from wcr_med.report.document import Score

_TITLE = "Agreement of volumes (Bland-Altman)"


def draw_agreement(dense: NetworkAnalysis, pruned: NetworkAnalysis, *, prefix: str) -> str:
    """Draw predicted minus reference volume against the mean of both, a panel a network, on the same axes.

    Solid: the bias; dashed: the limits of agreement; the bands are their intervals. Without them (fewer than two
    patients) the points stand alone.
    """
    if not dense.volume.points and not pruned.volume.points:
        return note_only("No patient has a volume to compare.", prefix, title=_TITLE)
    looks = ((dense, DENSE_COLOUR, "o"), (pruned, PRUNED_COLOUR, "s"))
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, (network, colour, marker) in zip(panels, looks, strict=True):
            _panel(axes, network.volume, colour, marker)
            axes.set_title(network.label)
            axes.set_xlabel(f"mean of reference and prediction, {network.volume.unit}")
        panels[0].set_ylabel(f"prediction \u2212 reference, {dense.volume.unit}")
        description = " ".join(_describe(network) for network in (dense, pruned))
        return render(figure, prefix, title=_TITLE, description=description)


def _panel(axes: Axes, volume: VolumeAgreement, colour: str, marker: str) -> None:
    axes.axhline(0, color=GREY, linewidth=0.7)
    for score, style, name in (
        (volume.upper, "--", "upper limit"),
        (volume.bias, "-", "bias"),
        (volume.lower, "--", "lower limit"),
    ):
        if not math.isfinite(score.value):
            continue
        axes.axhline(score.value, color=colour, linewidth=1.2, linestyle=style, gid="mark-line")
        if score.low is not None and score.high is not None:
            axes.axhspan(score.low, score.high, color=colour, alpha=0.12, linewidth=0)
        axes.annotate(
            f"{name} {number(score.value, _digits(volume), signed=True)}",
            (1, score.value), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
            ha="right", va="bottom", fontsize=7, color=colour,
        )  # fmt: skip
    axes.plot(
        [point.mean for point in volume.points],
        [point.difference for point in volume.points],
        marker, color=colour, markerfacecolor="none", markersize=4, markeredgewidth=0.9, gid="mark-patients",
    )  # fmt: skip
    axes.margins(x=0.06, y=0.1)
    axes.locator_params(nbins=6)


def _digits(volume: VolumeAgreement) -> int:
    return 1 if volume.unit == "ml" else 0


def _describe(network: NetworkAnalysis) -> str:
    volume, digits = network.volume, _digits(network.volume)

    def told(score: Score) -> str:
        ends = span(score.low, score.high, digits, signed=True)
        return f"{number(score.value, digits, signed=True)} {volume.unit} ({ends})"

    text = f"{network.label}: {counted(len(volume.points), 'patient')}, bias {told(volume.bias)}"
    if math.isfinite(volume.lower.value):
        text += (
            f", limits of agreement {told(volume.lower)} and {told(volume.upper)},"
            f" {volume.n_within} of {len(volume.points)} patients between them"
        )
    largest = max(volume.points, key=lambda point: abs(np.nan_to_num(point.difference)), default=None)
    if largest is not None:
        text += f"; the largest difference is {number(largest.difference, digits, signed=True)} in {largest.patient_id}"
    return text + "."
