"""Two figures: Dice against sparsity, and the best, median and worst patient with outlines.

Colours are of Okabe and Ito's palette, which colour-blind readers can tell apart; line style and marker repeat the
distinction for print in grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from wcr_med.channel_names import numbered
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.stored import load_mask
from wcr_med.files import atomic_path
from wcr_med.metrics.counts import count
from wcr_med.pictures import background_channel
from wcr_med.pictures.marks import NOTICE, SIDES_UNKNOWN, scale_bar
from wcr_med.pruning import repair_in_words
from wcr_med.report.document import LadderRow, Score

Array = npt.NDArray[Any]

BLUE, VERMILLION, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#555555"
_AIR = 0.1  # of the brightest pixel; air and its noise lie below
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "wcr-med",  # element ids in an SVG are random without it
}
"""Settings of matplotlib for every figure."""


@dataclass(frozen=True, kw_only=True)
class PatientCase:
    """A patient to draw.

    Attributes:
        label: "Best", "Median", "Worst".
        patient_id: stands in the caption with `dice`.
        image_SHWC: raw intensities.
        reference_SHW: 0/1; `prediction_SHW` likewise.
        sequences: names of the channels; empty where they have none.
        sides_known: the patient's right is on the left of the slices.
        pixel_aspect: height of a pixel over its width.
        column_mm: width of a pixel; `None` if unknown.
    """

    label: str
    patient_id: str
    dice: float
    image_SHWC: Array
    reference_SHW: Array
    prediction_SHW: Array
    sequences: tuple[str, ...] = ()
    sides_known: bool = False
    pixel_aspect: float = 1.0
    column_mm: float | None = None

    @property
    def channel(self) -> int:
        """Which channel is drawn, from 0."""
        return background_channel(self.sequences)

    @property
    def sequence(self) -> str:
        """Its name."""
        return numbered(self.sequences, self.image_SHWC.shape[3])[self.channel]


def draw_sparsity(ladder: Sequence[LadderRow], stem: Path) -> tuple[Path, Path]:
    """Draw Dice against sparsity, as pruned and repaired, as `stem`.svg and `stem`.png.

    The axis is logarithmic in the weights kept, so that the rungs above 90 % have room. Bars are the intervals.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.0), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, name, title in (
            (panels[0], "dice_patient", "Dice per patient, mean"),
            (panels[1], "f1_pooled", "Dice of all pixels together (F1)"),
        ):
            sparsity_panel(axes, ladder, name)
            axes.set_title(title)
        panels[0].set_ylabel("Dice on test patients")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        return save_figure(figure, stem)


def draw_patients(cases: Sequence[PatientCase], stem: Path) -> tuple[Path, Path]:
    """Draw each patient's slice of largest lesion, bare and with outlines, as `stem`.svg and `stem`.png.

    The background is the sequence named FLAIR, otherwise the first channel. The reference is a solid outline, the
    prediction a dashed one. Without cases the figure says that there is nothing to draw.
    """
    with mpl.rc_context(STYLE):
        if not cases:
            figure = Figure(figsize=(6.6, 1.0))
            figure.text(
                0.5, 0.5, "No patient has a Dice score: no lesion, and none predicted.", ha="center", va="center"
            )
            return save_figure(figure, stem)
        figure = Figure(figsize=(3.3 * max(len(cases), 2), 7.6), layout="constrained")
        grid = figure.subplots(2, len(cases), squeeze=False)
        for (top, bottom), case in zip(grid.T, cases, strict=True):
            _patient_panels(top, bottom, case)
        handles = [
            Line2D([], [], color=SKY, linewidth=2.2, label="reference"),
            Line2D([], [], color=ORANGE, linewidth=1.8, linestyle=(0, (3, 1.5)), label="prediction"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, handlelength=3)
        return save_figure(figure, stem)


def pick_patients(result: EvaluationResult) -> tuple[tuple[str, str, float], ...]:
    """Which patients to draw: (label, patient id, Dice) of the best, the median and the worst.

    Patients without a Dice are left out. Of an even number the lower of the two middle ones is the median. With two
    patients there is no median, with one it is called "Only".
    """
    ranked = sorted((row.dice, row.patient_id) for row in result.rows if np.isfinite(row.dice))
    places = {
        0: (),
        1: (("Only", 0),),
        2: (("Best", 1), ("Worst", 0)),
    }.get(len(ranked), (("Best", -1), ("Median", (len(ranked) - 1) // 2), ("Worst", 0)))
    return tuple((label, ranked[place][1], ranked[place][0]) for label, place in places)


def load_cases(result: EvaluationResult, entries: Sequence[PatientEntry], predictions: Path) -> tuple[PatientCase, ...]:
    """Read images, references and kept predictions of the patients that `pick_patients` chooses.

    Args:
        result: the evaluation that kept its predictions.
        entries: the patients, at least those of `result`.
        predictions: its `keep` folder, which holds `masks/`.

    Raises:
        UserError: a patient is not among the entries, or a file is missing.
    """
    by_id = {entry.patient_id: entry for entry in entries}
    cases = []
    for label, patient_id, dice in pick_patients(result):
        if patient_id not in by_id:
            raise UserError(
                f"patient {patient_id} was evaluated but is no longer in the data; run the evaluation again"
            )
        volume = load_volume(by_id[patient_id])
        assert volume.mask_SHW is not None  # load_volume reads the mask unless told otherwise
        cases.append(
            PatientCase(
                label=label,
                patient_id=patient_id,
                dice=dice,
                image_SHWC=volume.image_SHWC,
                reference_SHW=volume.mask_SHW,
                prediction_SHW=load_mask(predictions, patient_id),
                sequences=by_id[patient_id].channel_names(volume.image_SHWC.shape[3]),
                sides_known=volume.nifti is not None,
                pixel_aspect=volume.spacing_mm[1] / volume.spacing_mm[2] if volume.spacing_mm else 1.0,
                column_mm=volume.spacing_mm[2] if volume.spacing_mm else None,
            )
        )
    return tuple(cases)


def sparsity_panel(axes: Axes, ladder: Sequence[LadderRow], name: str) -> None:
    """Draw one average ("dice_patient", "f1_pooled") of a ladder against its sparsities into `axes`."""
    lines = ((True, BLUE, "o", "-"), (False, VERMILLION, "s", "--"))
    for repaired, colour, marker, style in lines:
        rows = sorted((row for row in ladder if bool(row.repair) == repaired), key=lambda row: row.sparsity)
        if not rows:
            continue
        scores: list[Score] = [getattr(row, name) for row in rows]
        shift = 1.02 if repaired else 1 / 1.02  # error bars side by side, not on top of each other
        kept = np.array([100 * (1 - row.sparsity) for row in rows]) * shift
        values = np.array([score.value for score in scores])
        low = np.array([values[i] if score.low is None else score.low for i, score in enumerate(scores)])
        high = np.array([values[i] if score.high is None else score.high for i, score in enumerate(scores)])
        errors = np.clip([values - low, high - values], 0, None)
        axes.errorbar(
            kept,
            values,
            yerr=errors,
            label=repair_in_words(rows[0].repair),
            color=colour,
            marker=marker,
            linestyle=style,
            capsize=3,
            elinewidth=1,
        )
    dense = [getattr(row, name).value for row in ladder if row.sparsity == 0 and not row.repair]
    if dense:
        axes.axhline(dense[0], color=GREY, linewidth=1, linestyle=":", label="dense")
    sparsities = sorted({row.sparsity for row in ladder})
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks([100 * (1 - sparsity) for sparsity in sparsities], [f"{100 * s:g}" for s in sparsities])
    axes.minorticks_off()
    axes.set_xlabel("Sparsity: % of prunable weights removed")
    axes.set_ylim(-0.02, 1)
    axes.grid(axis="y", alpha=0.3)


def _patient_panels(top: Axes, bottom: Axes, case: PatientCase) -> None:
    index = _slice_to_show(case)
    image_HW, window = _background(case, index)
    masks = (case.reference_SHW[index], case.prediction_SHW[index])
    rows, columns = _view(image_HW, masks[0].astype(bool) | masks[1].astype(bool))
    for axes in (top, bottom):
        axes.imshow(image_HW, cmap="gray", vmin=window[0], vmax=window[1], aspect=case.pixel_aspect)
        axes.set_xlim(columns)
        axes.set_ylim(rows[1], rows[0])
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    top.set_title(f"{case.label}: Dice {case.dice:.3f}\n{case.patient_id}", fontsize=11)
    bottom.set_title(
        f"{case.sequence}, slice {index + 1} of {len(case.image_SHWC)}\nDice of this slice {_slice_dice(*masks)}",
        fontsize=9,
    )
    _marks(top, case, columns, rows)
    _outline(bottom, masks[0], colour=SKY, width=2.2, style="solid")
    _outline(bottom, masks[1], colour=ORANGE, width=1.8, style=(0, (3, 1.5)))


def _marks(axes: Axes, case: PatientCase, columns: tuple[float, float], rows: tuple[float, float]) -> None:
    """Sides, scale and notice, as in every picture of a slice (`wcr_med.pictures`)."""
    if case.sides_known:
        axes.text(0.02, 0.5, "R", transform=axes.transAxes, color="white", va="center")
        axes.text(0.98, 0.5, "L", transform=axes.transAxes, color="white", va="center", ha="right")
    else:
        axes.text(0.98, 0.98, SIDES_UNKNOWN, transform=axes.transAxes, color="white", va="top", ha="right", fontsize=7)
    axes.text(0.98, 0.02, NOTICE, transform=axes.transAxes, color="white", ha="right", fontsize=7)
    width, height = columns[1] - columns[0], rows[1] - rows[0]
    length, words = scale_bar(width, case.column_mm)
    left, bottom = columns[0] + 0.03 * width, rows[1] - 0.03 * height
    axes.plot([left, left + length], [bottom, bottom], color="white", linewidth=1.5)
    axes.text(left + length + 0.02 * width, bottom, words, color="white", va="center", fontsize=7)


def _slice_to_show(case: PatientCase) -> int:
    area_S = case.reference_SHW.astype(bool).sum(axis=(1, 2))
    if not area_S.any():
        area_S = case.prediction_SHW.astype(bool).sum(axis=(1, 2))
    return int(np.argmax(area_S))


def _background(case: PatientCase, index: int) -> tuple[Array, tuple[float, float]]:
    image_HW = case.image_SHWC[index, :, :, case.channel].astype(np.float32)
    bright = image_HW[image_HW > _AIR * image_HW.max()]
    # Fat of the scalp may be twice as bright as any lesion; it alone is left to saturate.
    window = (0.0, float(np.percentile(bright, 98))) if bright.size else (0.0, 1.0)
    return image_HW, window


def _slice_dice(reference_HW: Array, prediction_HW: Array) -> str:
    dice = count(reference_HW, prediction_HW).dice
    return f"{dice:.3f}" if np.isfinite(dice) else "does not exist"


def _view(image_HW: Array, mask_HW: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last row, first and last column of a square around the head and every outline.

    The square may reach beyond the image.
    """
    bright_HW = image_HW > _AIR * image_HW.max()
    centres, extents = [], []
    for axis in (1, 0):
        enough = bright_HW.sum(axis=axis) > 0.02 * bright_HW.shape[axis]  # speckle in the air is fewer than that
        occupied = np.flatnonzero(enough | mask_HW.any(axis=axis))
        first, last = (occupied[0], occupied[-1]) if occupied.size else (0, len(enough) - 1)
        centres.append((first + last) / 2)
        extents.append(last - first + 1)
    half = 0.53 * max(extents)
    rows, columns = ((centre - half, centre + half) for centre in centres)
    return rows, columns


def _outline(axes: Axes, mask_HW: Array, *, colour: str, width: float, style: Any) -> None:
    if not mask_HW.any():
        return
    # A rim of zeros closes outlines that touch the border of the image.
    padded = np.pad(mask_HW.astype(np.float32), 1)
    columns, rows = np.arange(-1, mask_HW.shape[1] + 1), np.arange(-1, mask_HW.shape[0] + 1)
    lines = axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=[width], linestyles=[style])
    lines.set_path_effects([withStroke(linewidth=width + 1, foreground="black")])  # legible on bright lesions too


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as `stem`.svg and `stem`.png; drawn with `STYLE`, the same facts give the same SVG."""
    svg, png = stem.with_name(stem.name + ".svg"), stem.with_name(stem.name + ".png")
    with atomic_path(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})  # the same facts give the same file
    with atomic_path(png) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return svg, png
