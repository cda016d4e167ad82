"""Patients slice by slice: image, outlines of reference, dense and pruned network, and what pruning changed."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.data.index import load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.stored import load_mask
from wcr_med.metrics.counts import count
from wcr_med.pictures import (
    Box,
    Frame,
    Marks,
    background_channel,
    data_uri,
    frame,
    head_box,
    outlines,
    small_parts,
    svg_path,
    svg_rings,
    window,
)
from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.gallery_choice import choose_patients
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

MOST_SLICES = 8
"""Slices that are shown of a patient."""

PANELS = ("image", "reference", "dense", "pruned", "difference")
"""Side by side, for a patient whose outcome pruning changed."""

_GAP = 0.02  # between them, of the width of one
_RING = 0.035  # radius of the ring around a small part, of the width
_PANEL_LETTERS = 13  # letters of a panel's marks that make its width


@dataclass(frozen=True, kw_only=True)
class GallerySlice:
    """One slice. Outlines are the `d` of SVG paths in pixels of the picture, "" where there is nothing.

    Attributes:
        number: of the slice within the volume, from 1.
        image: data URI of the picture.
        reference: outline; `dense` and `pruned` likewise.
        lost: outline of the voxels that the dense network alone predicts; `gained` of those the pruned one alone does.
        rings: circles around the parts of reference, dense and pruned that are too small to be seen.
        n_reference: voxels of the slice; `n_dense`, `n_pruned`, `n_lost` and `n_gained` likewise.
        dice_dense: of this slice, NaN where it does not exist; `dice_pruned` likewise.
        frame: marks around the picture with all outlines; `panels_frame` around the panels side by side.
    """

    number: int
    image: str
    reference: str
    dense: str
    pruned: str
    lost: str
    gained: str
    rings: str
    n_reference: int
    n_dense: int
    n_pruned: int
    n_lost: int
    n_gained: int
    dice_dense: float
    dice_pruned: float
    frame: Frame
    panels_frame: Frame


@dataclass(frozen=True, kw_only=True)
class GalleryCase:
    """One patient.

    Attributes:
        anchor: begins the ids of the case within the page.
        patient_id: the patient; `institution` where from.
        reasons: why it is shown, at least one.
        flipped: its outcome changed by pruning: image, outlines and difference are shown side by side.
        dense: Dice of the volume, NaN where it does not exist; `pruned` likewise, and `difference` pruned minus dense.
        n_slices: of the volume.
        channel: which of its channels is shown, in words.
        orientation: which side is which, in words.
        scale: size of a pixel and distance of slices, in words.
        width: pixels of the picture across; `height` down.
        pixel_aspect: height of a pixel over its width.
        gap: between panels side by side, in pixels.
        slices: chosen ones, in the order of the volume.
    """

    anchor: str
    patient_id: str
    institution: str
    reasons: tuple[str, ...]
    flipped: bool
    dense: float
    pruned: float
    difference: float
    n_slices: int
    channel: str
    orientation: str
    scale: str
    width: int
    height: int
    pixel_aspect: float
    gap: float
    slices: tuple[GallerySlice, ...]


def gallery(inputs: ReportInputs, analysis: Analysis) -> tuple[GalleryCase, ...]:
    """Read, choose slices of, and outline the patients of `choose_patients`.

    Raises:
        UserError: a patient is no longer in the data or has no mask there, a stored mask is missing, or it does not
            fit the images.
    """
    return tuple(
        _case(inputs, analysis, f"case-{place}", patient_id, reasons)
        for place, (patient_id, reasons) in enumerate(choose_patients(inputs, analysis), start=1)
    )


def choose_slices(
    reference_SHW: Array, dense_SHW: Array, pruned_SHW: Array, most: int = MOST_SLICES
) -> tuple[int, ...]:
    """At most `most` slices, ascending: most tumour, most error and most difference take turns.

    Slices without anything in any mask are left out; where all are, the middle one is shown.

    Args:
        reference_SHW: (slices, rows, columns), 0 and 1.
        dense_SHW: likewise, of the same shape.
        pruned_SHW: likewise.
        most: at least 1.
    """
    masks = [np.asarray(mask_SHW) != 0 for mask_SHW in (reference_SHW, dense_SHW, pruned_SHW)]
    reference, dense, pruned = masks
    weights = (
        reference.sum(axis=(1, 2)),
        (dense ^ reference).sum(axis=(1, 2)) + (pruned ^ reference).sum(axis=(1, 2)),
        (dense ^ pruned).sum(axis=(1, 2)),
    )
    orders = [np.argsort(-weight_S, kind="stable") for weight_S in weights]
    chosen: dict[int, None] = {}
    for place in range(len(reference)):
        for order, weight_S in zip(orders, weights, strict=True):
            index = int(order[place])
            if weight_S[index] and len(chosen) < most:
                chosen.setdefault(index)
    return tuple(sorted(chosen)) or (len(reference) // 2,)


def _case(
    inputs: ReportInputs, analysis: Analysis, anchor: str, patient_id: str, reasons: tuple[str, ...]
) -> GalleryCase:
    if patient_id not in inputs.entries:
        raise UserError(f"patient {patient_id} was evaluated but is no longer in the data; run the evaluation again")
    entry = inputs.entries[patient_id]
    volume = load_volume(entry)
    assert volume.mask_SHW is not None  # load_volume reads the mask unless told otherwise
    masks = [volume.mask_SHW]
    for network in (inputs.dense, inputs.pruned):
        mask_SHW = load_mask(network.folders[patient_id], patient_id)
        if mask_SHW.shape != volume.mask_SHW.shape:
            raise UserError(
                f"patient {patient_id}: stored mask of shape {mask_SHW.shape} for images of shape"
                f" {volume.mask_SHW.shape}; run the evaluation again"
            )
        masks.append(mask_SHW)
    n_channels = volume.image_SHWC.shape[3]
    names = entry.channel_names(n_channels)
    channel = background_channel(names)
    image_SHW = volume.image_SHWC[..., channel]
    indices = choose_slices(masks[0], masks[1], masks[2])
    chosen = list(indices)
    any_SHW = np.any(masks, axis=0)
    box = head_box(image_SHW[chosen], any_SHW[chosen])
    limits = window(image_SHW, any_SHW)
    spacing_mm = volume.spacing_mm
    aspect = spacing_mm[1] / spacing_mm[2] if spacing_mm else 1.0
    pair = next(pair for pair in analysis.verdict.pairs if pair.patient_id == patient_id)
    return GalleryCase(
        anchor=anchor,
        patient_id=patient_id,
        institution=pair.institution,
        reasons=reasons,
        flipped=any(flip.patient_id == patient_id for flip in analysis.verdict.flips),
        dense=pair.dense,
        pruned=pair.pruned,
        difference=pair.difference,
        n_slices=len(image_SHW),
        channel=f"{names[channel]} (channel {channel + 1} of {n_channels})",
        orientation=_orientation(volume),
        scale=_scale(spacing_mm),
        width=box.columns,
        height=box.rows,
        pixel_aspect=aspect,
        gap=_GAP * box.columns,
        slices=tuple(
            _slice(index, image_SHW, masks, box, limits, _marks(volume, names[channel], index), aspect)
            for index in indices
        ),
    )


def _slice(
    index: int,
    image_SHW: Array,
    masks: list[Array],
    box: Box,
    limits: tuple[float, float],
    marks: Marks,
    pixel_aspect: float,
) -> GallerySlice:
    reference, dense, pruned = (box.cut(mask_SHW[index]) != 0 for mask_SHW in masks)
    lost, gained = dense & ~pruned, pruned & ~dense
    small = [middle for mask_HW in (reference, dense, pruned) for middle in small_parts(outlines(mask_HW))]
    height = box.rows * pixel_aspect
    whole = (len(PANELS) + (len(PANELS) - 1) * _GAP) * box.columns
    return GallerySlice(
        number=index + 1,
        image=data_uri(box.cut(image_SHW[index]), limits),
        reference=svg_path(outlines(reference)),
        dense=svg_path(outlines(dense)),
        pruned=svg_path(outlines(pruned)),
        lost=svg_path(outlines(lost)),
        gained=svg_path(outlines(gained)),
        rings=svg_rings(small, _RING * box.columns),
        n_reference=int(reference.sum()),
        n_dense=int(dense.sum()),
        n_pruned=int(pruned.sum()),
        n_lost=int(lost.sum()),
        n_gained=int(gained.sum()),
        dice_dense=count(reference, dense).dice,
        dice_pruned=count(reference, pruned).dice,
        frame=frame(marks, width=box.columns, height=height, columns=box.columns),
        panels_frame=frame(
            marks,
            width=box.columns,
            height=height,
            columns=box.columns,
            size=box.columns / _PANEL_LETTERS,
            whole=whole,
        ),
    )


def _marks(volume: Volume, sequence: str, index: int) -> Marks:
    return Marks(
        sequence=sequence,
        number=index + 1,
        n_slices=len(volume.image_SHWC),
        sides_known=volume.nifti is not None,
        column_mm=volume.spacing_mm[2] if volume.spacing_mm else None,
    )


def _orientation(volume: Volume) -> str:
    if volume.nifti is not None:
        return "axial, the patient\u2019s right (R) on the left of the picture, the front at the top"
    return "as the files hold the slices; they do not say which side is the patient\u2019s right"


def _scale(spacing_mm: tuple[float, float, float] | None) -> str:
    if spacing_mm is None or not all(map(math.isfinite, spacing_mm)):
        return "size of a pixel unknown"
    return f"pixels of {spacing_mm[2]:.3g} \u00d7 {spacing_mm[1]:.3g} mm, slices {spacing_mm[0]:.3g} mm apart"
