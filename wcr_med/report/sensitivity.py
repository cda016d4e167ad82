"""What each layer costs when it alone is pruned: sensitivity.json, sensitivity.csv, a figure and a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wcr_med.files import write_csv, write_json
from wcr_med.report.figures import STYLE, save_figure

SCHEMA_VERSION = 1

_DARK = 0.55  # share of the colour scale above which black text is hard to read
_COLUMNS = (
    "position", "layer", "n_weights", "share", "sparsity", "n_removed", "dice_patient", "dice_patient_drop",
    "f1_pooled", "f1_pooled_drop",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SensitivityPoint:
    """One layer pruned to one sparsity, all others untouched.

    Attributes:
        sparsity: asked for, of this layer; 1: all that its floor does not protect.
        n_removed: weights that were set to zero.
        dice_patient: mean over patients; `f1_pooled` over all pixels.
    """

    sparsity: float
    n_removed: int
    dice_patient: float
    f1_pooled: float


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One prunable kernel.

    Attributes:
        name: of the kernel in the network's state.
        shape: of the kernel.
        n: number of weights.
        points: one a sparsity, ascending; the same sparsities for every layer.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    points: tuple[SensitivityPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A whole scan.

    Attributes:
        dice_patient: of the network before pruning, on the same slices and with the same repair; `f1_pooled` likewise.
        layers: in network order; at least one.
        layer_floor: share of a layer that always stays, see `pruning.layer_floor`.
        repair: steps after each pruning, and before the network is scored; empty for none.
        n_patients: validation patients.
        n_slices: slices in all, at most `slices_per_patient` of each.
        threshold: on the probability, the same for all.
        split_hash: of the partition.
        data_hash: of images and masks.
        provenance: see `wcr_med.provenance`.
    """

    dice_patient: float
    f1_pooled: float
    layers: tuple[LayerSensitivity, ...]
    layer_floor: float
    repair: tuple[str, ...]
    n_patients: int
    n_slices: int
    slices_per_patient: int
    threshold: float
    split_hash: str
    data_hash: str
    provenance: Mapping[str, Any]

    @property
    def sparsities(self) -> tuple[float, ...]:
        """What every layer was pruned to."""
        return tuple(point.sparsity for point in self.layers[0].points)

    @property
    def n(self) -> int:
        """Weights of all layers."""
        return sum(layer.n for layer in self.layers)

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer and sparsity, JSON-ready; the columns of sensitivity.csv."""
        rows = []
        for position, layer in enumerate(self.layers, start=1):
            for point in layer.points:
                drops = (self.dice_patient - point.dice_patient, self.f1_pooled - point.f1_pooled)
                values = (
                    position, layer.name, layer.n, layer.n / self.n, point.sparsity, point.n_removed,
                    point.dice_patient, drops[0], point.f1_pooled, drops[1],
                )  # fmt: skip
                rows.append(dict(zip(_COLUMNS, values, strict=True)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"schema_version": SCHEMA_VERSION, "partition": "validation", **asdict(self)}


def write_sensitivity(folder: Path, scan: Sensitivity) -> tuple[Path, ...]:
    """Write sensitivity.json, .csv, .svg and .png into `folder`; returns their paths.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    stem = folder / "sensitivity"
    json_path, csv_path = stem.with_suffix(".json"), stem.with_suffix(".csv")
    write_json(json_path, scan.to_dict())
    write_csv(csv_path, _COLUMNS, scan.rows())
    return (json_path, csv_path, *draw_sensitivity(scan, stem))


def sensitivity_table(scan: Sensitivity) -> str:
    """Layers in network order: weights, share of all weights, drop of dice_patient at each sparsity."""
    heads = ["layer", "weights", "share", *(sparsity_label(sparsity, scan.layer_floor) for sparsity in scan.sparsities)]
    lines = [
        [
            _short(layer.name),
            str(layer.n),
            f"{100 * layer.n / scan.n:.2f} %",
            *(_number(scan.dice_patient - point.dice_patient, 3) for point in layer.points),
        ]
        for layer in scan.layers
    ]
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in [heads, *lines])
    )


def sparsity_label(sparsity: float, layer_floor: float) -> str:
    """A column's name: "90 %"; for all that may go "all but 0.1 %", or "all" without a floor."""
    if sparsity < 1:
        return f"{100 * sparsity:g} %"
    return f"all but {100 * layer_floor:g} %" if layer_floor else "all"


def draw_sensitivity(scan: Sensitivity, stem: Path) -> tuple[Path, Path]:
    """Draw the drops as a heat map, layers by sparsities, with each layer's weights beside it: `stem`.svg and .png.

    The colours are one hue from light to dark, up to a drop of everything: in order for every kind of colour vision.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 1.6 + 0.26 * len(scan.layers)), layout="constrained")
        heat, weights = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        _heat_map(heat, scan)
        _weights(weights, scan)
        mended = "statistics re-estimated each time" if scan.repair else "no repair"
        figure.suptitle(
            f"Drop of dice_patient when one layer alone is pruned, {mended}\n"
            f"Dense: {scan.dice_patient:.3f} on {scan.n_slices} slices of {scan.n_patients} validation patients",
            fontsize=10,
        )
        return save_figure(figure, stem)


def _heat_map(axes: Axes, scan: Sensitivity) -> None:
    drops_LS = np.array([[scan.dice_patient - point.dice_patient for point in layer.points] for layer in scan.layers])
    top = max(scan.dice_patient, float(drops_LS.max()), 1e-6)
    axes.imshow(drops_LS, aspect="auto", cmap="Blues", vmin=0, vmax=top)
    for (row, column), drop in np.ndenumerate(drops_LS):
        colour = "white" if drop > _DARK * top else "black"
        axes.text(column, row, _number(float(drop), 2), ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(
        range(len(scan.sparsities)), [sparsity_label(sparsity, scan.layer_floor) for sparsity in scan.sparsities]
    )
    axes.set_yticks(range(len(scan.layers)), [_short(layer.name) for layer in scan.layers], fontsize=8)
    axes.set_xlabel("Weights of the layer removed")
    axes.set_ylabel("Layers in network order")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _weights(axes: Axes, scan: Sensitivity) -> None:
    shares = [100 * layer.n / scan.n for layer in scan.layers]
    axes.barh(range(len(shares)), shares, color="#0072B2", height=0.7)
    for row, (share, layer) in enumerate(zip(shares, scan.layers, strict=True)):
        axes.text(share, row, f" {layer.n:,}", va="center", fontsize=7.5)
    axes.set_xlim(0, 1.6 * max(shares))
    axes.set_xlabel("Weights, % of all")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)


def _short(name: str) -> str:
    return name.removesuffix(".weight") or name


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text
