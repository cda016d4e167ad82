"""Figures of a comparison: Dice against sparsity, a panel a method, and the survivors of each layer."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from wcr_med.report.comparison.ladders import Metric
from wcr_med.report.comparison.rows import DENSE, MethodRow
from wcr_med.report.figures import BLUE, GREY, STYLE, VERMILLION, save_figure

_COLUMNS = 5
_TITLES = {"dice_patient": "Dice per patient, mean", "f1_pooled": "Dice of all pixels together (F1)"}


def draw_curves(rows: Sequence[MethodRow], metric: Metric, stem: Path) -> None:
    """Draw a metric against sparsity as `stem`.svg and `stem`.png: a panel a method, the others in grey behind.

    The axis is logarithmic in the weights kept. Bars are the intervals. Dense rivals are lines across.

    Args:
        rows: at least one.
        metric: which.
        stem: path without suffix.
    """
    with mpl.rc_context(STYLE):
        n_lines = math.ceil(len(rows) / _COLUMNS)
        figure = Figure(figsize=(2.6 * _COLUMNS, 2.5 * n_lines + 0.8), layout="constrained")
        grid = figure.subplots(n_lines, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes, row in zip(grid.flat, rows, strict=False):
            for other in rows:
                if other is not row and not other.dense_only:
                    _line(axes, other, metric, repaired=True, color="#cccccc", linewidth=0.8, zorder=1)
            _panel(axes, row, metric)
        for axes in list(grid.flat)[len(rows) :]:
            axes.set_visible(False)
        for axes in list(grid.flat)[max(0, len(rows) - _COLUMNS) : len(rows)]:
            axes.tick_params(labelbottom=True)  # the lowest that is there in each column
        figure.supylabel("Dice, points", fontsize=9)
        handles, labels = _legend_of(list(grid.flat)[: len(rows)])
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(
            f"{_TITLES[metric]}, on test patients, against sparsity; other methods repaired, in grey", fontsize=11
        )
        save_figure(figure, stem)


def draw_survivors(rows: Sequence[MethodRow], stem: Path) -> bool:
    """Draw the share of weights that pruning leaves in each layer as a heat map a sparsity; whether there was any.

    Methods whose network has other layers than the first one's are left out.
    """
    pruned = [row for row in rows if row.kept]
    if not pruned:
        return False
    sparsities = sorted(pruned[0].kept)
    kernels = list(pruned[0].kept[sparsities[0]])
    pruned = [row for row in pruned if list(row.kept[sparsities[0]]) == kernels]
    with mpl.rc_context(STYLE):
        size = (2.2 + 0.28 * len(kernels), 1.6 + (0.26 * len(pruned) + 0.5) * len(sparsities))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(sparsities), 1, sharex=True, squeeze=False)[:, 0]
        norm = LogNorm(vmin=1e-3, vmax=1.0)
        for axes, sparsity in zip(panels, sparsities, strict=True):
            shares = np.array([[row.kept[sparsity][kernel] for kernel in kernels] for row in pruned])
            image = axes.imshow(np.maximum(shares, 1e-3), aspect="auto", cmap="viridis", norm=norm)
            axes.set_yticks(range(len(pruned)), [row.label for row in pruned], fontsize=7)
            axes.set_title(f"{100 * sparsity:g} % sparsity", fontsize=9)
        names = [kernel.removesuffix(".weight") for kernel in kernels]
        panels[-1].set_xticks(range(len(kernels)), names, rotation=90, fontsize=7)
        figure.colorbar(image, ax=list(panels), label="share of the layer's weights that stays", shrink=0.6)
        save_figure(figure, stem)
    return True


def _panel(axes: Axes, row: MethodRow, metric: Metric) -> None:
    axes.set_title(row.label, fontsize=9)
    axes.tick_params(labelsize=7)
    dense = row.scores[DENSE][metric]
    if row.dense_only:
        axes.axhline(100 * dense.value, color=GREY, linestyle=":", label="dense, small")
        axes.axhspan(100 * dense.low, 100 * dense.high, color=GREY, alpha=0.12, linewidth=0)
        return
    _line(axes, row, metric, repaired=False, color=VERMILLION, linestyle="--", marker="s", label="as pruned")
    _line(axes, row, metric, repaired=True, color=BLUE, marker="o", label="repaired")


def _line(axes: Axes, row: MethodRow, metric: Metric, *, repaired: bool, **style: object) -> None:
    rungs = [rung for rung in sorted(row.scores) if rung == DENSE or rung[1] == repaired]
    intervals = [row.scores[rung][metric] for rung in rungs]
    # On a logarithmic axis dense would stand far off; it stands at 50 %, or halfway to the lowest sparsity.
    dense = min([0.5, *(rung[0] / 2 for rung in rungs if rung != DENSE)])
    places = [1 / (1 - (dense if rung == DENSE else rung[0])) for rung in rungs]
    values = np.array([100 * interval.value for interval in intervals])
    style = {"markersize": 3, "linewidth": 1.2, **style}
    if "label" in style:
        bars = np.array(
            [
                [100 * (interval.value - interval.low) for interval in intervals],
                [100 * (interval.high - interval.value) for interval in intervals],
            ]
        )
        axes.errorbar(places, values, yerr=np.maximum(bars, 0), capsize=2, elinewidth=0.7, **style)  # type: ignore[arg-type]
    else:
        axes.plot(places, values, **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_xticks(places, ["dense" if rung == DENSE else f"{100 * rung[0]:g} %" for rung in rungs])
    axes.minorticks_off()


def _legend_of(panels: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    found: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
