"""Dice of each reference lesion against its size; detected or missed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wcr_med.report.analysis.document import Comparison, LesionPoint
from wcr_med.report.clinical.formats import counted, number
from wcr_med.report.clinical.plots.svg import BLUE, INK, VERMILLION, WIDTH_IN, figure_style, note_only, render

Array = npt.NDArray[Any]

_TITLE = "Dice of each lesion against its size"


def draw_lesions(comparison: Comparison, *, prefix: str) -> str:
    """Draw a panel a network: circles are lesions that were found, crosses at 0 those that were missed.

    A diamond around a mark is a lesion that one network found and the other did not. The size axis is logarithmic, in
    millilitres where every lesion has a volume, else in voxels.
    """
    lesions = comparison.lesions
    if not lesions:
        return note_only("The references of the test patients hold no lesion.", prefix, title=_TITLE)
    in_ml = all(math.isfinite(lesion.volume_ml) and lesion.volume_ml > 0 for lesion in lesions)
    sizes = np.array([lesion.volume_ml if in_ml else lesion.n_voxels for lesion in lesions])
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, label, pruned in ((panels[0], "dense", False), (panels[1], comparison.label, True)):
            _panel(axes, lesions, sizes, pruned=pruned)
            n_found = sum(_found(lesion, pruned=pruned) for lesion in lesions)
            axes.set_title(f"{label}: {n_found} of {counted(len(lesions), 'lesion')} found")
            axes.set_xlabel("size of the lesion, " + ("ml" if in_ml else "voxels"))
        panels[0].set_ylabel("Dice of the lesion")
        panels[0].set_ylim(-0.07, 1.03)
        _log_axis(panels[0], sizes)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=4, handletextpad=0.3)
        return render(
            figure, prefix, title=_TITLE, description=_describe(comparison, sizes, "ml" if in_ml else "voxels")
        )


def _found(lesion: LesionPoint, *, pruned: bool) -> bool:
    return lesion.detected_pruned if pruned else lesion.detected_dense


def _panel(axes: Axes, lesions: Sequence[LesionPoint], sizes: Array, *, pruned: bool) -> None:
    dice = np.array([lesion.dice_pruned if pruned else lesion.dice_dense for lesion in lesions])
    found = np.array([_found(lesion, pruned=pruned) for lesion in lesions])
    changed = np.array([lesion.detected_dense != lesion.detected_pruned for lesion in lesions])
    looks: tuple[tuple[Any, dict[str, Any]], ...] = (
        (found, {"marker": "o", "color": BLUE, "markersize": 4, "gid": "mark-found"}),
        (~found, {"marker": "x", "color": VERMILLION, "markersize": 5, "markeredgewidth": 1.3, "gid": "mark-missed"}),
        (changed, {"marker": "D", "color": INK, "markersize": 8, "markeredgewidth": 0.9, "gid": "mark-changed"}),
    )
    for chosen, look in looks:
        if chosen.any():  # an empty series that is not clipped would break the layout
            axes.plot(sizes[chosen], dice[chosen], linestyle="none", markerfacecolor="none", clip_on=False, **look)
    axes.grid()


def _log_axis(axes: Axes, sizes: Array) -> None:
    axes.set_xscale("log")
    axes.set_xlim(sizes.min() / 1.5, sizes.max() * 1.5)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1000 else f"{value:,.0f}")


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=BLUE, marker="o", markerfacecolor="none", markersize=4, linestyle="none", label="found"),
        Line2D([], [], color=VERMILLION, marker="x", markersize=5, linestyle="none", label="missed"),
        Line2D([], [], color=INK, marker="D", markerfacecolor="none", markersize=7, linestyle="none",
               label="found by one network alone"),
    ]  # fmt: skip


def _describe(comparison: Comparison, sizes: Array, unit: str) -> str:
    lesions = comparison.lesions
    text = [f"{counted(len(lesions), 'lesion')} of {_size(sizes.min())} to {_size(sizes.max())} {unit}."]
    for label, pruned in (("dense", False), (comparison.label, True)):
        found = np.array([_found(lesion, pruned=pruned) for lesion in lesions])
        dice = np.array([lesion.dice_pruned if pruned else lesion.dice_dense for lesion in lesions])
        sentence = f"{label}: {int(found.sum())} found, median Dice of all lesions {number(float(np.median(dice)))}"
        if not found.all():
            sentence += f"; the largest missed one has {_size(sizes[~found].max())} {unit}"
        text.append(sentence + ".")
    lost = sum(lesion.detected_dense and not lesion.detected_pruned for lesion in lesions)
    gained = sum(lesion.detected_pruned and not lesion.detected_dense for lesion in lesions)
    return " ".join([*text, f"Pruning lost {lost} and gained {gained}."])


def _size(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
