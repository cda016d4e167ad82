"""The picture of non-inferiority: the paired difference with the bounds of the verdict, against the margin."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import Analysis, Comparison
from wcr_med.report.analysis.verdict import Status, margin_words
from wcr_med.report.clinical.formats import counted, number, percent, span
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

_TITLE = "What pruning changed in mean Dice per patient, against the margin"
_COLOUR: dict[Status, str] = {"non-inferior": BLUE, "inferior": VERMILLION}  # grey for all others
_MARKER: dict[Status, str] = {"inferior": "v", "inconclusive": "D"}  # a circle for all others


def draw_verdict(analysis: Analysis, *, prefix: str) -> str:
    """Draw a row for each pruned network: mean difference of dice_patient to dense, bounds, margin, verdict.

    Colour and marker both tell the verdict; a network without one has a hollow point and grey bounds. Without any
    difference the figure says so.
    """
    shown = [entry for entry in analysis.comparisons if math.isfinite(entry.verdict.mean_difference)]
    if not shown:
        return note_only("No patient has a difference of Dice: there is nothing to compare.", prefix, title=_TITLE)
    margin = analysis.statistics.margin
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.72 + 0.3 * len(shown)), layout="constrained")
        axes = figure.subplots()
        low, high = _range(shown, margin)
        axes.set_xlim(low, high)
        gap = 0.01 * (high - low)
        axes.set_ylim(len(shown) - 0.4, -0.75)
        axes.axvspan(low, -margin, facecolor="none", edgecolor=LIGHT, hatch="///", linewidth=0)
        axes.axvline(-margin, color=VERMILLION, linewidth=1.4, linestyle="--")
        axes.axvline(0, color=GREY, linewidth=0.9)
        words = f"margin \u2212{margin_words(margin)}"
        axes.text(-margin - gap, -0.72, words, ha="right", va="top", color=VERMILLION, fontsize=7.5)
        axes.text(gap, -0.72, "no change", ha="left", va="top", color=GREY, fontsize=7.5)
        for place, comparison in enumerate(shown):
            _row(axes, place, comparison, bold=comparison.network == analysis.primary and len(shown) > 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference of mean Dice per patient, pruned \u2212 dense (left: pruned is worse)")
        return render(figure, prefix, title=_TITLE, description=_describe(shown, analysis))


def _row(axes: Axes, place: int, comparison: Comparison, *, bold: bool) -> None:
    verdict = comparison.verdict
    colour, marker = _COLOUR.get(verdict.status, GREY), _MARKER.get(verdict.status, "o")
    bounds = verdict.bounds
    if bounds is not None:
        axes.plot(
            [bounds.low, bounds.high], [place, place], color=colour, linewidth=2, marker="|", markersize=9,
            markeredgewidth=2, gid="mark-interval", clip_on=False,
        )  # fmt: skip
    axes.plot(
        [verdict.mean_difference], [place], color=colour, marker=marker, markersize=7, linestyle="none",
        markerfacecolor=colour if verdict.judged else "white", gid="mark-difference", clip_on=False,
    )  # fmt: skip
    weight = "bold" if bold else "normal"
    beside = axes.get_yaxis_transform()
    axes.text(-0.01, place, comparison.label, transform=beside, ha="right", va="center", color=INK, weight=weight)
    ends = span(bounds.low, bounds.high, signed=True) if bounds is not None else "no bounds"
    text = f"{number(verdict.mean_difference, signed=True)}\n({ends})\n{verdict.status}"
    if bold or len(axes.figure.axes) == 1:
        text = text.replace("\n", "  ", 1).replace("\n", "  ")
    axes.text(1.01, place, text, transform=beside, ha="left", va="center", color=INK, weight=weight)


def _range(shown: list[Comparison], margin: float) -> tuple[float, float]:
    ends = [-1.6 * margin, 0.6 * margin]
    for comparison in shown:
        bounds = comparison.verdict.bounds
        ends.append(comparison.verdict.mean_difference)
        ends.extend([bounds.low, bounds.high] if bounds is not None else [])
    air = 0.06 * (max(ends) - min(ends))
    return min(ends) - air, max(ends) + air


def _describe(shown: list[Comparison], analysis: Analysis) -> str:
    set_when = analysis.statistics.plan.set_when
    when = f", set {set_when}," if set_when else ""
    sentences = [f"The margin{when} is a loss of {margin_words(analysis.statistics.margin)}."]
    for comparison in shown:
        verdict = comparison.verdict
        ends = "no bounds"
        if verdict.bounds is not None:
            low, high = verdict.bounds.low, verdict.bounds.high
            ends = f"{percent(verdict.bounds.confidence)} bounds {span(low, high, signed=True)}"
        sentences.append(
            f"{comparison.label}: mean difference {number(verdict.mean_difference, signed=True)} over"
            f" {counted(verdict.n_patients, 'patient')}, {ends}: {verdict.status}."
        )
    return " ".join(sentences)
