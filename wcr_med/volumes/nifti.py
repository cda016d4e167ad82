"""NIfTI-1 and NIfTI-2 volumes, read into one orientation and written back into the input's own.

Volumes are held as radiological axial slices, as the TIFF exports are (`wcr_med.volumes.orientation`). The voxels are
only reordered, never interpolated, so an oblique scan keeps its grid and the way back is exact.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.openers import ImageOpener

from wcr_med.files import atomic_path
from wcr_med.volumes.labels import LabelValues, held_values
from wcr_med.volumes.names import is_nifti
from wcr_med.volumes.nifti_header import NiftiFile, check_same_grid, open_header, parse_header, unreadable
from wcr_med.volumes.orientation import display_spacing_mm, to_display
from wcr_med.volumes.scratch import allocate
from wcr_med.volumes.volume import Array, FileError, NiftiGeometry, Volume

_BLOCK_VOXELS = 1 << 20
_ALIGNED = 2  # code of the coordinate system: some agreed one, not the scanner's
_SPATIAL_UNIT_BITS = 0b111  # the rest of xyzt_units is a unit of time
_GEOMETRY_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def read_nifti(
    channel_paths: Sequence[Path],
    label_path: Path | None,
    *,
    patient_id: str,
    labels: LabelValues | None = None,
    scratch: Path | None = None,
) -> Volume:
    """Read one patient; every file once, and every voxel is held once.

    Args:
        channel_paths: one 3D file a channel in the network's order, or a single 4D file with channels on the last axis.
        label_path: 3D label map on the same grid. `None`: no mask.
        patient_id: names the volume.
        labels: what its values mean; `None`: 0 is background, 1 or 255 lesion.
        scratch: folder for the voxels of a large volume; see `wcr_med.volumes.scratch`.

    Returns:
        A volume in radiological axial order. Integers keep their dtype; scaled values are float32.

    Raises:
        FileError: a file is missing or damaged, holds no affine, has voxels without size, NaN or another shape or
            place than the first one; or the label map holds fractions, or values that `labels` does not name.
        ValueError: no channel paths.
    """
    if not channel_paths:
        raise ValueError("read_nifti needs at least one channel")
    files = _open_channels(channel_paths)
    geometry = files[0].geometry
    label = None if label_path is None else open_header(label_path, most_axes=3)
    if label is not None:
        check_same_grid(label.path, label.geometry, channel_paths[0], geometry)
    n_channels = sum(_n_channels(file) for file in files)
    # In the order of the files, first axis fastest, a channel after the other: each is read from start to end.
    values_CZYX = allocate(
        (n_channels, *geometry.shape[::-1]), np.result_type(*(file.dtype for file in files)), scratch
    )
    start = 0
    for file in files:
        _read_voxels(file, values_CZYX[start : start + _n_channels(file)])
        start += _n_channels(file)
    mask_SHW = None
    if label is not None:
        label_ZYX = allocate(geometry.shape[::-1], label.dtype, scratch)
        _read_voxels(label, label_ZYX)
        lesion_ZYX = (labels or LabelValues()).mask_of(label_ZYX, label.path)
        mask_SHW = np.ascontiguousarray(to_display(lesion_ZYX.T, geometry.orientation_32))
    image_SHWC = to_display(values_CZYX.T, geometry.orientation_32)
    return Volume(
        patient_id=patient_id,
        image_SHWC=image_SHWC,
        mask_SHW=mask_SHW,
        spacing_mm=display_spacing_mm(geometry.affine_44, geometry.orientation_32),
        names=tuple(str(number) for number in range(image_SHWC.shape[0])),
        nifti=geometry,
    )


def read_label_values(path: Path) -> list[int]:
    """The different values of a label map, ascending.

    Raises:
        FileError: the file is missing or damaged, or holds fractions.
    """
    label = open_header(path, most_axes=3)
    label_ZYX = np.empty(label.geometry.shape[::-1], dtype=label.dtype)
    _read_voxels(label, label_ZYX)
    return held_values(label_ZYX, path)


class NiftiResult:
    """A result on the grid of an input, filled a few slices at a time and then written.

    Attributes:
        values_SHW: of the dtype given, to be filled: slices, rows, columns, in radiological axial order.

    Args:
        geometry: of the input.
        dtype: of the result.
        scratch: folder for a large one; see `wcr_med.volumes.scratch`.
    """

    def __init__(self, geometry: NiftiGeometry, dtype: npt.DTypeLike, *, scratch: Path | None = None) -> None:
        self._geometry = geometry
        self._values_ZYX = allocate(geometry.shape[::-1], dtype, scratch)
        self.values_SHW: Array = to_display(self._values_ZYX.T, geometry.orientation_32)

    def save(self, path: Path) -> None:
        """Write it in the orientation, grid and affine of the input, whole or not at all.

        Only geometry is copied from the input's header: free text, which may name a patient, is left behind.

        Raises:
            FileError: the name ends in neither .nii nor .nii.gz.
            UserError: the folder cannot be written, or the disk is full.
        """
        if not is_nifti(path):
            raise FileError(path, "wrong-type", "cannot write NIfTI under this name; end it in .nii or .nii.gz")
        header = _result_header(self._geometry)
        header.set_data_dtype(self._values_ZYX.dtype)
        image_class = nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
        with atomic_path(path) as temporary:
            nib.save(image_class(self._values_ZYX.T, header.get_best_affine(), header), temporary)


def write_nifti(volume: Volume, mask_SHW: Array, path: Path) -> None:
    """Write a result in the orientation, grid and affine of the volume's own file; see `NiftiResult.save`.

    Args:
        volume: what the result belongs to; read by `read_nifti`.
        mask_SHW: bool or integer: written as a uint8 label map. Floating point (probabilities): written as float32.
        path: ends in .nii or .nii.gz.

    Raises:
        FileError: the suffix is another one.
        UserError: the folder cannot be written, or the disk is full.
        ValueError: the volume was not read from NIfTI, or the shapes differ.
    """
    if volume.nifti is None:
        raise ValueError("the volume was not read from NIfTI: its place in space is unknown")
    if mask_SHW.shape != volume.image_SHWC.shape[:3]:
        raise ValueError(f"result of shape {mask_SHW.shape} for an image of shape {volume.image_SHWC.shape}")
    result = NiftiResult(volume.nifti, np.float32 if mask_SHW.dtype.kind == "f" else np.uint8)
    result.values_SHW[...] = mask_SHW
    result.save(path)


def diagonal_geometry(shape_SHW: tuple[int, int, int], spacing_mm: tuple[float, float, float] | None) -> NiftiGeometry:
    """A place for slices that tell of none: columns to the patient's left, rows to the back, slices to the head.

    Viewers then show them as the slices look. Whether the left of a slice is the patient's left its file does not tell,
    nor where the head lay: coordinates mean nothing beyond the size of a voxel.

    Args:
        shape_SHW: slices, rows and columns.
        spacing_mm: between them; `None`: 1 of an unknown unit.
    """
    slice_step, row_step, column_step = spacing_mm or (1.0, 1.0, 1.0)
    affine_44 = np.diag([-column_step, -row_step, slice_step, 1.0])  # RAS+; left and back are negative
    header = nib.Nifti1Header()
    header.set_data_shape(shape_SHW[::-1])
    header.set_xyzt_units("mm" if spacing_mm else "unknown")
    header.set_sform(affine_44, code=_ALIGNED)
    header.set_qform(affine_44, code=_ALIGNED)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return NiftiGeometry(
        affine_44=affine_44,
        shape=shape_SHW[::-1],
        orientation_32=nib.orientations.io_orientation(affine_44),
        header=header.binaryblock,
    )


def _open_channels(paths: Sequence[Path]) -> list[NiftiFile]:
    files = [open_header(path, most_axes=4) for path in paths]
    for file in files:
        if len(file.shape) == 4 and len(files) > 1:
            raise FileError(
                file.path, "wrong-shape", "a 4D file among several; give one 3D file a channel, or one 4D file alone"
            )
        check_same_grid(file.path, file.geometry, files[0].path, files[0].geometry)
    return files


def _n_channels(file: NiftiFile) -> int:
    return file.shape[3] if len(file.shape) == 4 else 1


def _read_voxels(file: NiftiFile, out: Array) -> None:
    """Read, scale and check all voxels into `out`: contiguous, as many as the file holds, in the file's order."""
    flat = out.reshape(-1)
    try:
        with ImageOpener(file.path, "rb") as stream:
            stream.seek(file.offset)
            for start in range(0, flat.size, _BLOCK_VOXELS):
                block = flat[start : start + _BLOCK_VOXELS]
                block[:] = _scaled(file, _stored(stream, block.size, file.stored))
            stream.read(1)  # reaching the end makes a compressed file compare its checksum
    except FileError:
        raise
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise unreadable(file.path, error) from error


def _stored(stream: BinaryIO, n_voxels: int, dtype: np.dtype[Any]) -> Array:
    content = stream.read(n_voxels * dtype.itemsize)
    if len(content) < n_voxels * dtype.itemsize:
        raise EOFError("it ends before its last voxel")
    return np.frombuffer(content, dtype=dtype)


def _scaled(file: NiftiFile, stored: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and refused below
        if (file.slope, file.intercept) == (1.0, 0.0):
            values: Array = stored.astype(file.dtype)
        else:
            values = (stored * np.float64(file.slope) + np.float64(file.intercept)).astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FileError(file.path, "not-finite", "holds NaN or infinite voxels; replace them, for example by 0")
    return values


def _result_header(geometry: NiftiGeometry) -> Any:
    """A fresh header that takes from the input nothing but its geometry."""
    source = parse_header(geometry.header)
    header = type(source)()
    header.set_data_shape(geometry.shape)
    header["pixdim"][:4] = source["pixdim"][:4]
    for field in _GEOMETRY_FIELDS:
        header[field] = source[field]
    header["xyzt_units"] = int(source["xyzt_units"]) & _SPATIAL_UNIT_BITS
    return header
