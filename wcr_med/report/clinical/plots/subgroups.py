"""Forest plot: what pruning changed in each subgroup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.report.analysis.document import AttributeAnalysis, Comparison, Statistics, Subgroup
from wcr_med.report.analysis.verdict import JUDGED, Status
from wcr_med.report.clinical.formats import number, p_value, span
from wcr_med.report.clinical.plots.svg import (
    BLUE,
    GREY,
    INK,
    VERMILLION,
    WIDTH_IN,
    figure_style,
    render,
)

_TITLE = "What pruning changed in each subgroup"
_ROWS = 42  # of one figure: a page with room for heading and caption
_ROW_IN = 0.175
_LONGEST = 27  # characters of a name
_LOOKS: dict[Status, tuple[str, str, bool]] = {
    "non-inferior": (BLUE, "o", True),
    "inferior": (VERMILLION, "v", True),
    "inconclusive": (GREY, "D", True),
}
_WITHOUT = (GREY, "o", False)  # a verdict


@dataclass(frozen=True)
class _Row:
    """A heading (`group` None) or a group."""

    attribute: AttributeAnalysis
    group: Subgroup | None


def draw_subgroups(comparison: Comparison, statistics: Statistics, *, prefix: str) -> tuple[str, ...]:
    """Draw the difference of dice_patient with its interval, a row a subgroup, against zero, whole and margin.

    Marker and colour tell the verdict; a group without one has a hollow grey marker. Groups below `min_subgroup`
    patients are left out. An attribute whose groups pruning harmed unequally is marked in words.

    Returns:
        One figure for every 42 rows, an attribute in one piece where it fits; ids begin with `prefix`-1, `prefix`-2 ...
        Nothing where every group is smaller.
    """
    attributes = [
        replace(attribute, groups=groups)
        for attribute in comparison.attributes
        if (groups := tuple(group for group in attribute.groups if group.is_shown(statistics.min_subgroup)))
    ]
    if not attributes:
        return ()
    limits = _limits(comparison, statistics)
    pages = _pages(attributes)
    return tuple(
        _draw(page, comparison, statistics, limits, f"{prefix}-{place}", (place, len(pages)))
        for place, page in enumerate(pages, start=1)
    )


def _pages(attributes: Sequence[AttributeAnalysis]) -> list[list[_Row]]:
    pages: list[list[_Row]] = [[]]
    for attribute in attributes:
        rows = [_Row(attribute, group) for group in (None, *attribute.groups)]
        if pages[-1] and len(pages[-1]) + len(rows) > _ROWS:
            pages.append([])
        while len(rows) > _ROWS:  # an attribute longer than a page
            pages[-1].extend(rows[:_ROWS])
            rows = rows[_ROWS:]
            pages.append([])
        pages[-1].extend(rows)
    return pages


def _draw(
    rows: Sequence[_Row],
    comparison: Comparison,
    statistics: Statistics,
    limits: tuple[float, float],
    prefix: str,
    page: tuple[int, int],
) -> str:
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, _ROW_IN * (len(rows) + 1.4) + 0.68))
        bottom, top = 0.6 / figure.get_figheight(), 1 - 0.05 / figure.get_figheight()
        axes = figure.add_axes((0.26, bottom, 0.33, top - bottom))
        axes.set_xlim(*limits)
        axes.set_ylim(len(rows) - 0.4, -1.5)
        axes.axvline(-statistics.margin, color=VERMILLION, linewidth=1.2, linestyle="--")
        axes.axvline(0, color=GREY, linewidth=0.8)
        if math.isfinite(comparison.paired.mean_difference):
            axes.axvline(comparison.paired.mean_difference, color=INK, linewidth=0.9, linestyle=":")
        _headings(axes)
        for place, row in enumerate(rows):
            if row.group is None:
                _heading(axes, place, row.attribute)
            else:
                _group(axes, place, row.group, limits)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference of mean Dice, pruned \u2212 dense", fontsize=7.5)
        text = (
            f"Dashed: margin {number(-statistics.margin)}. Dotted: all patients. Circle: non-inferior; triangle:"
            f" inferior; diamond: inconclusive; hollow: no verdict. Left out: below {statistics.min_subgroup} patients."
        )
        figure.text(0.01, 0.05 / figure.get_figheight(), text, fontsize=6.5, color=GREY)
        title = _TITLE if page[1] == 1 else f"{_TITLE}, part {page[0]} of {page[1]}"
        return render(figure, prefix, title=title, description=_describe(rows, comparison, statistics))


_COLUMNS = (1.04, 1.16, 1.53)  # patients, dense to pruned, difference: in widths of the axes


def _headings(axes: Axes) -> None:
    beside = axes.get_yaxis_transform()
    for x, text in zip(_COLUMNS, ("n", "dense \u2192 pruned", "difference (interval)"), strict=True):
        axes.text(x, -1.1, text, transform=beside, va="center", fontsize=7, color=GREY)


def _heading(axes: Axes, place: int, attribute: AttributeAnalysis) -> None:
    beside = axes.get_yaxis_transform()
    axes.text(-0.78, place, _short(attribute.label), transform=beside, va="center", weight="bold", fontsize=7.5)
    harm = attribute.harm
    if harm is not None and harm.harmed:
        text = f"\u201c{_short(harm.worst_group)}\u201d harmed more, {p_value(harm.p_holm)} (Holm)"
        axes.text(_COLUMNS[0], place, text, transform=beside, va="center", fontsize=7, color=VERMILLION, weight="bold")


def _group(axes: Axes, place: int, group: Subgroup, limits: tuple[float, float]) -> None:
    beside = axes.get_yaxis_transform()
    colour, marker, filled = _LOOKS.get(group.verdict, _WITHOUT)
    difference = group.difference
    axes.text(-0.74, place, _short(group.group), transform=beside, va="center", fontsize=7)
    axes.text(_COLUMNS[0], place, str(group.n_patients), transform=beside, va="center", fontsize=7)
    if not math.isfinite(difference.value):
        axes.text(_COLUMNS[1], place, "no difference exists", transform=beside, va="center", fontsize=7, color=GREY)
        return
    values = f"{number(group.dense.value)} \u2192 {number(group.pruned.value)}".replace("not defined", "none")
    axes.text(_COLUMNS[1], place, values, transform=beside, va="center", fontsize=7)
    ends = span(difference.low, difference.high, signed=True)
    text = f"{number(difference.value, signed=True)} ({ends})"
    axes.text(_COLUMNS[2], place, text, transform=beside, va="center", fontsize=7, color=INK)
    if difference.low is not None and difference.high is not None:
        low, high = max(difference.low, limits[0]), min(difference.high, limits[1])
        axes.plot([low, high], [place, place], color=colour, linewidth=1.3, gid="mark-interval")
        for end, beyond, arrow in ((low, difference.low < limits[0], "<"), (high, difference.high > limits[1], ">")):
            axes.plot([end], [place], arrow if beyond else "|", color=colour, markersize=4, clip_on=False)
    if limits[0] <= difference.value <= limits[1]:
        face = colour if filled else "white"
        axes.plot(
            [difference.value], [place], marker, color=colour, markerfacecolor=face, markersize=4.5, gid="mark-group"
        )


def _limits(comparison: Comparison, statistics: Statistics) -> tuple[float, float]:
    """The range of all groups that are shown, with their intervals."""
    ends = [-1.6 * statistics.margin, statistics.margin]
    for attribute in comparison.attributes:
        for group in attribute.groups:
            if group.is_shown(statistics.min_subgroup):
                difference = group.difference
                ends += [end for end in (difference.value, difference.low, difference.high) if end is not None]
    air = 0.05 * (max(ends) - min(ends))
    return min(ends) - air, max(ends) + air


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\u2026"


def _describe(rows: Sequence[_Row], comparison: Comparison, statistics: Statistics) -> str:
    groups = [row for row in rows if row.group is not None and math.isfinite(row.group.difference.value)]
    judged = [row for row in groups if row.group is not None and row.group.verdict in JUDGED]
    n_groups = sum(row.group is not None for row in rows)
    text = [
        f"{n_groups} groups of at least {statistics.min_subgroup} patients, {len(judged)} of them with a verdict.",
        f"The margin is {number(-statistics.margin)}; the difference of all patients is"
        f" {number(comparison.paired.mean_difference, signed=True)}.",
    ]
    worst = min(judged, key=lambda row: row.group.difference.value if row.group else 0.0, default=None)
    if worst is not None and worst.group is not None:
        difference = worst.group.difference
        text.append(
            f"The largest loss among groups with a verdict is that of {worst.attribute.label}: {worst.group.group},"
            f" {number(difference.value, signed=True)}"
            f" ({span(difference.low, difference.high, signed=True)}), {worst.group.verdict}."
        )
    shown = {row.attribute.attribute for row in rows}
    harmed = [entry for entry in comparison.harmed if entry.attribute in shown]
    text.append(
        "Harmed more than the other patients: "
        + "; ".join(f"{entry.label}: {entry.harm.worst_group}" for entry in harmed if entry.harm)
        + "."
        if harmed
        else "No group is shown to be harmed more than the others."
    )
    return " ".join(text)
