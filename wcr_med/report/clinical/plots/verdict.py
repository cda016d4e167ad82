"""The picture of non-inferiority: the paired difference with its interval, against the margin set beforehand."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import Analysis, Comparison
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
_VERDICT_COLOUR = {"non-inferior": BLUE, "inferior": VERMILLION, "inconclusive": GREY, "too few": GREY}
_VERDICT_MARKER = {"non-inferior": "o", "inferior": "v", "inconclusive": "D", "too few": "o"}


def draw_verdict(analysis: Analysis, *, prefix: str) -> str:
    """Draw a row for each pruned network: mean difference of dice_patient to dense, interval, margin, verdict.

    Colour and marker both tell the verdict; a network without an interval has a bare, hollow point. Without any
    difference the figure says so.
    """
    shown = [entry for entry in analysis.comparisons if math.isfinite(entry.paired.mean_difference)]
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
        axes.text(
            -margin - gap, -0.72, f"margin {number(-margin)}", ha="right", va="top", color=VERMILLION, fontsize=7.5
        )
        axes.text(gap, -0.72, "no change", ha="left", va="top", color=GREY, fontsize=7.5)
        for place, comparison in enumerate(shown):
            _row(axes, place, comparison, bold=comparison.network == analysis.primary and len(shown) > 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference of mean Dice per patient, pruned \u2212 dense (left: pruned is worse)")
        return render(figure, prefix, title=_TITLE, description=_describe(shown, analysis))


def _row(axes: Axes, place: int, comparison: Comparison, *, bold: bool) -> None:
    paired = comparison.paired
    colour, marker = _VERDICT_COLOUR[paired.verdict], _VERDICT_MARKER[paired.verdict]
    interval = paired.interval
    bare = interval is None or paired.verdict == "too few"
    if interval is not None:
        axes.plot(
            [interval.low, interval.high], [place, place], color=colour, linewidth=2, marker="|", markersize=9,
            markeredgewidth=2, gid="mark-interval", clip_on=False,
        )  # fmt: skip
    axes.plot(
        [paired.mean_difference], [place], color=colour, marker=marker, markersize=7, linestyle="none",
        markerfacecolor="white" if bare else colour, gid="mark-difference", clip_on=False,
    )  # fmt: skip
    weight = "bold" if bold else "normal"
    beside = axes.get_yaxis_transform()
    axes.text(-0.01, place, comparison.label, transform=beside, ha="right", va="center", color=INK, weight=weight)
    ends = span(interval.low, interval.high, signed=True) if interval is not None else "no interval"
    text = f"{number(paired.mean_difference, signed=True)}\n({ends})\n{paired.verdict}"
    if bold or len(axes.figure.axes) == 1:
        text = text.replace("\n", "  ", 1).replace("\n", "  ")
    axes.text(1.01, place, text, transform=beside, ha="left", va="center", color=INK, weight=weight)


def _range(shown: list[Comparison], margin: float) -> tuple[float, float]:
    ends = [-1.6 * margin, 0.6 * margin]
    for comparison in shown:
        interval = comparison.paired.interval
        ends.append(comparison.paired.mean_difference)
        ends.extend([interval.low, interval.high] if interval is not None else [])
    air = 0.06 * (max(ends) - min(ends))
    return min(ends) - air, max(ends) + air


def _describe(shown: list[Comparison], analysis: Analysis) -> str:
    sentences = [f"The margin, set beforehand, is a loss of {number(analysis.statistics.margin)}."]
    for comparison in shown:
        paired = comparison.paired
        level = percent(paired.interval.confidence, 0) + " interval " if paired.interval else ""
        ends = span(paired.interval.low, paired.interval.high, signed=True) if paired.interval else "no interval"
        sentences.append(
            f"{comparison.label}: mean difference {number(paired.mean_difference, signed=True)} over"
            f" {counted(paired.n_patients, 'patient')}, {level}{ends}: {paired.verdict}."
        )
    return " ".join(sentences)
