"""The single-frame DICOM MR images of a study as one volume, the series that the network needs as its channels.

Needs the extra: pip install 'wcr-med[dicom]'.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from wcr_med.volumes.choice import Channels
from wcr_med.volumes.dicom_match import match_series
from wcr_med.volumes.dicom_series import Series, list_series, open_file
from wcr_med.volumes.dicom_values import number, text
from wcr_med.volumes.orientation import display_spacing_mm, to_display
from wcr_med.volumes.volume import Array, FileError, NiftiGeometry, Volume

_LOG = logging.getLogger(__name__)


def read_dicom(paths: Sequence[Path], *, patient_id: str, channels: Channels) -> Volume:
    """Read the images of one study.

    Args:
        paths: of single-frame MR images, in any order and in any folders. Which series is which channel is logged.
        patient_id: names the volume; the headers' own name and number are not looked at.
        channels: what the network takes; see `wcr_med.volumes.dicom_match`.

    Returns:
        A volume in radiological axial order, with its place in space, so that results can be written as NIfTI too.
        Integers keep their dtype; rescaled values are float32.

    Raises:
        FileError: a file is damaged, compressed in a way that cannot be read here, no single-frame MR image, or of
            colour; positions leave a gap, stand twice or shear; orientations, studies or grids differ; or it is not
            clear which series is which channel. Series that are not taken are not looked at.
        ValueError: no paths.
    """
    found = list_series(paths)
    chosen = match_series(found, channels)
    taken = {series.uid for series in chosen}
    left_out = tuple(series.label for series in found if series.uid not in taken)
    origins = tuple(f"series {series.label}" for series in chosen)
    if len(found) > 1 or len(chosen) > 1:
        pairs = zip(channels.names, origins, strict=True)
        _LOG.info("%s: %s", patient_id, ", ".join(f"{name} is {origin}" for name, origin in pairs))
    if left_out:
        _LOG.info("%s: left out: series %s", patient_id, "; ".join(left_out))
    geometry = _geometry(chosen[0])
    values = np.stack([_voxels(series) for series in chosen], axis=-1)
    image_SHWC = np.ascontiguousarray(to_display(values, geometry.orientation_32))
    return Volume(
        patient_id=patient_id,
        image_SHWC=image_SHWC,
        mask_SHW=None,
        spacing_mm=display_spacing_mm(geometry.affine_44, geometry.orientation_32),
        names=tuple(str(number) for number in range(image_SHWC.shape[0])),
        nifti=geometry,
        origins=origins,
        left_out=left_out,
        references=chosen[0].paths,
    )


def _voxels(series: Series) -> Array:
    """Columns, rows, slices."""
    slices = [_pixels(path) for path in series.paths]
    return np.stack([values_HW.T for values_HW in slices], axis=-1)


def _pixels(path: Path) -> Array:
    image = open_file(path, pixels=True)
    if not text(path, image, "SamplesPerPixel"):
        image.SamplesPerPixel = 1  # the meaning of an empty element; the decoder asks for it
    try:
        values_HW: Array = image.pixel_array
    except Exception as error:  # no decoder for the compression, or too few bytes
        problem = f"its pixels cannot be read ({error}); export it again, uncompressed"
        raise FileError(path, "unreadable", problem) from error
    if values_HW.shape != (int(image.Rows), int(image.Columns)):
        raise FileError(path, "wrong-shape", "its pixels do not have the Rows and Columns of its header")
    slope, intercept = number(path, image, "RescaleSlope", empty=1), number(path, image, "RescaleIntercept", empty=0)
    if slope == 0:
        raise FileError(path, "bad-geometry", "RescaleSlope is 0, so every pixel would have one value; export it again")
    if (slope, intercept) != (1.0, 0.0):
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and refused below
            values_HW = (values_HW * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    if values_HW.dtype.kind == "f" and not np.isfinite(values_HW).all():
        raise FileError(path, "not-finite", "holds NaN or infinite pixels after rescaling; export it again")
    return values_HW


def _geometry(series: Series) -> NiftiGeometry:
    """The series' place in space, with a NIfTI header made for it."""
    header = nib.Nifti1Header()
    header.set_data_shape(series.shape)
    header.set_xyzt_units("mm")
    header.set_zooms(np.linalg.norm(series.affine_44[:3, :3], axis=0))
    header.set_qform(series.affine_44, code="scanner")
    header.set_sform(series.affine_44, code="scanner")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return NiftiGeometry(
        affine_44=series.affine_44,
        shape=series.shape,
        orientation_32=nib.orientations.io_orientation(series.affine_44),
        header=header.binaryblock,
    )
