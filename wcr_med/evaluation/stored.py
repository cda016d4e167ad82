"""Predictions as files, so that a report needs no network: masks as NIfTI, probabilities as compressed arrays.

An evaluation folder holds `masks/<patient_id>.nii.gz` (uint8, 0 and 1) and `probabilities/<patient_id>.npz`. A mask of
a NIfTI patient has the grid and the affine of the patient's own file. A mask of TIFFs has its axes in the order
columns, rows, slices, and a diagonal affine: columns towards the patient's left, rows to the back, slices to the head,
as `wcr_med.volumes.nifti` holds every volume. Viewers then show the slices as the TIFFs look. Whether the left of a
TIFF is the patient's left the files do not tell, nor where the head lay: the coordinates mean nothing beyond the size
of a voxel. Where that is unknown too, it is 1 of an unknown unit.

Probabilities are rounded to 255ths: enough to draw, too coarse to threshold again. Scores and `threshold_tp` come from
the exact ones.
"""

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.files import atomic_path
from wcr_med.volumes import Volume
from wcr_med.volumes.nifti import read_nifti, write_nifti

Array = npt.NDArray[Any]

_LEVELS = 255
_ALIGNED = 2  # code of the coordinate system: some agreed one, not the scanner's
_AGAIN = "run the evaluation again"


def mask_path(folder: Path, patient_id: str) -> Path:
    """Where an evaluation folder holds the mask of a patient."""
    return folder / "masks" / f"{patient_id}.nii.gz"


def probability_path(folder: Path, patient_id: str) -> Path:
    """Where an evaluation folder holds the probabilities of a patient."""
    return folder / "probabilities" / f"{patient_id}.npz"


def save_prediction(folder: Path, volume: Volume, probability_SHW: Array, mask_SHW: Array) -> None:
    """Store a network's answer for one patient, each file whole or not at all.

    Args:
        folder: of the evaluation.
        volume: the patient, as `load_volume` reads it.
        probability_SHW: float32 in [0, 1], on the volume's grid.
        mask_SHW: uint8 0 and 1, likewise.

    Raises:
        UserError: the folder cannot be written.
        ValueError: the shapes differ.
    """
    shape = volume.image_SHWC.shape[:3]
    if probability_SHW.shape != shape or mask_SHW.shape != shape:
        raise ValueError(f"prediction of shapes {probability_SHW.shape} and {mask_SHW.shape} for {shape} voxels")
    path = mask_path(folder, volume.patient_id)
    if volume.nifti is not None:
        write_nifti(volume, mask_SHW, path)
    else:
        _write_diagonal(mask_SHW, volume.spacing_mm, path)
    levels_SHW = np.rint(probability_SHW * np.float32(_LEVELS)).astype(np.uint8)
    with atomic_path(probability_path(folder, volume.patient_id)) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, probability_SHW=levels_SHW)


def clear_predictions(folder: Path) -> None:
    """Remove stored predictions, so that none of an earlier evaluation stays among those of the next."""
    for name in ("masks", "probabilities"):
        shutil.rmtree(folder / name, ignore_errors=True)


def load_mask(folder: Path, patient_id: str) -> Array:
    """A stored mask: uint8 (slices, rows, columns), 0 or 1, in the order of `load_volume`.

    Raises:
        UserError: the file is missing or damaged, or is not a mask.
    """
    path = mask_path(folder, patient_id)
    try:
        volume = read_nifti([path], None, patient_id=patient_id)
    except UserError as error:
        raise UserError(f"{error}; {_AGAIN}") from error
    mask_SHW = volume.image_SHWC[..., 0]
    if volume.image_SHWC.shape[3] != 1 or mask_SHW.dtype != np.uint8 or mask_SHW.max() > 1:
        raise UserError(f"{path}: not a mask of 0 and 1; {_AGAIN}")
    return np.ascontiguousarray(mask_SHW)


def load_probability(folder: Path, patient_id: str) -> Array:
    """Stored probabilities: float32 (slices, rows, columns) in [0, 1], at most 1/510 from the network's answer.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = probability_path(folder, patient_id)
    try:
        # All of it, against its checksum, before anything in it is understood; whatever the archive's code raises
        # over damaged bytes (zlib, struct, an encryption that is none) means the same.
        with zipfile.ZipFile(path) as archive:
            content = archive.read("probability_SHW.npy")
        levels_SHW: Array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise UserError(f"{path}: no readable probabilities ({type(error).__name__}: {error}); {_AGAIN}") from error
    if levels_SHW.dtype != np.uint8 or levels_SHW.ndim != 3:
        raise UserError(f"{path}: {levels_SHW.dtype} of {levels_SHW.ndim} axes, expected uint8 volumes; {_AGAIN}")
    probability_SHW: Array = levels_SHW / np.float32(_LEVELS)
    return probability_SHW


def _write_diagonal(mask_SHW: Array, spacing_mm: tuple[float, float, float] | None, path: Path) -> None:
    slice_step, row_step, column_step = spacing_mm or (1.0, 1.0, 1.0)
    affine_44 = np.diag([-column_step, -row_step, slice_step, 1.0])  # RAS+; left and back are negative
    image = nib.Nifti1Image(np.ascontiguousarray(np.swapaxes(mask_SHW, 0, 2), dtype=np.uint8), affine_44)
    image.header.set_xyzt_units("mm" if spacing_mm else "unknown")
    image.set_sform(affine_44, code=_ALIGNED)
    image.set_qform(affine_44, code=_ALIGNED)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
