"""The two plots of a comparison: the mean difference against the margin, and every patient's change."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wcr_med.report.clinical.formats import counted, number, span
from wcr_med.report.clinical.plots.svg import (
    BLUE,
    GREY,
    LIGHT,
    VERMILLION,
    WIDTH_IN,
    figure_style,
    note_only,
    render,
)
from wcr_med.report.side_by_side.document import PatientLine, SideBySide

_LARGEST_IN = 8.6  # one page
_DIFFERENCE, _PATIENTS = "Mean difference of Dice, run B minus run A", "Dice of every common patient, run A to run B"


def draw_difference(comparison: SideBySide, *, prefix: str) -> str:
    """Draw the mean difference with the bounds of the verdict against the margin of run A; an `<svg>` element."""
    verdict = comparison.verdict
    bounds, margin = verdict.bounds, verdict.margin
    if not math.isfinite(verdict.mean_difference):
        return note_only("No patient has a difference of Dice.", prefix, title=_DIFFERENCE)
    ends = (bounds.low, bounds.high) if bounds else (verdict.mean_difference,) * 2
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.95), layout="constrained")
        axes = figure.subplots()
        low, high = min(-1.6 * margin, *ends), max(0.6 * margin, *ends)
        room = 0.06 * (high - low)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(0.5, -0.9)
        axes.axvline(-margin, color=VERMILLION, linewidth=1.4, linestyle="--")
        axes.axvline(0, color=GREY, linewidth=0.9)
        axes.text(
            -margin, -0.85, f"margin {number(-margin)} ", ha="right", va="top", color=VERMILLION,
            fontsize=7.5,
        )  # fmt: skip
        axes.text(0, -0.85, " no difference", ha="left", va="top", color=GREY, fontsize=7.5)
        if bounds:
            axes.plot(ends, [0, 0], color=BLUE, linewidth=2, marker="|", markersize=9, gid="mark-interval")
        axes.plot([verdict.mean_difference], [0], color=BLUE, marker="o", markersize=7, gid="mark-difference")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference of mean Dice per patient, B \u2212 A (left: B is worse)")
        interval = span(*ends, signed=True) if bounds else "no bounds"
        description = (
            f"Mean difference {number(verdict.mean_difference, signed=True)} ({interval}) over"
            f" {counted(verdict.n_patients, 'patient')}; the margin is {number(-margin)}."
        )
        return render(figure, prefix, title=_DIFFERENCE, description=description)


def draw_patients(comparison: SideBySide, *, prefix: str) -> str:
    """Draw one line a patient, the largest loss first: a circle for run A, an arrow head for run B."""
    lines = [line for line in comparison.patients if math.isfinite(line.difference)]
    if not lines:
        return note_only("No patient has a difference of Dice.", prefix, title=_PATIENTS)
    worse_by = comparison.paired.worse_by
    row_in = min(0.14, _LARGEST_IN / len(lines))
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, row_in * (len(lines) + 1) + 0.85), layout="constrained")
        axes = figure.subplots()
        axes.set_ylim(len(lines) - 0.3, -0.7)
        for row, line in enumerate(lines):
            _draw_line(axes, row, line, worse_by)
        names = [line.patient_id for line in lines] if row_in >= 0.075 else [""] * len(lines)
        axes.set_yticks(np.arange(len(lines)), names, fontsize=min(6.5, 58 * row_in))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel("Dice of the volume (nothing there and nothing found counts as 1)")
        figure.legend(handles=_legend(worse_by), loc="outside lower center", ncols=4, handletextpad=0.3)
        description = (
            f"{counted(len(lines), 'patient')}, the largest loss first. B is lower by more than {worse_by:g} in"
            f" {comparison.paired.n_worse} and higher by more than {worse_by:g} in {comparison.paired.n_better}."
            f" Largest loss: {number(lines[0].difference, signed=True)} in {lines[0].patient_id}; largest gain:"
            f" {number(lines[-1].difference, signed=True)} in {lines[-1].patient_id}."
        )
        return render(figure, prefix, title=_PATIENTS, description=description)


def _draw_line(axes: Axes, row: int, line: PatientLine, worse_by: float) -> None:
    a, b = (value if math.isfinite(value) else 1.0 for value in (line.a, line.b))
    colour, head = GREY, "|"
    if line.difference < -worse_by:
        colour, head = VERMILLION, "<"
    elif line.difference > worse_by:
        colour, head = BLUE, ">"
    axes.axhline(row, color=LIGHT, linewidth=0.4)
    axes.plot([a, b], [row, row], color=colour, linewidth=1.1, gid="mark-change")
    axes.plot([a], [row], "o", color=GREY, markerfacecolor="white", markersize=4, gid="mark-a")
    axes.plot([b], [row], head, color=colour, markersize=5, gid="mark-b")


def _legend(worse_by: float) -> list[Line2D]:
    return [
        Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none", label="run A"),
        Line2D([], [], color=VERMILLION, marker="<", label=f"run B, lower by more than {worse_by:g}"),
        Line2D([], [], color=BLUE, marker=">", label=f"run B, higher by more than {worse_by:g}"),
        Line2D([], [], color=GREY, marker="|", label="run B, in between"),
    ]
