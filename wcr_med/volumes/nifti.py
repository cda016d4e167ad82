"""NIfTI-1 and NIfTI-2 volumes, read into one orientation and written back into the input's own.

Volumes are held as radiological axial slices, as the TIFF exports are (`wcr_med.volumes.orientation`). The voxels are
only reordered, never interpolated, so an oblique scan keeps its grid and the way back is exact.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from wcr_med.files import atomic_path
from wcr_med.volumes.names import is_nifti
from wcr_med.volumes.orientation import display_spacing_mm, from_display, to_display
from wcr_med.volumes.volume import Array, FileError, NiftiGeometry, Volume

_MAX_VOXELS = 2**29  # 512 x 512 x 2048; a compressed file of a few kilobytes can claim far more
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by size in bytes
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_MAGIC = (b"n+1", b"n+2")
_LAST_CODE = 5  # of the coordinate systems that the standard names
_SPATIAL_UNIT_BITS = 0b111  # the rest of xyzt_units is a unit of time
_GEOMETRY_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_FLAT = 1e-3  # volume of a cell with sides of 1, below which its axes lie in one plane
_SAME_GRID = 0.01  # of the smallest voxel side: how far corners of two grids that are one may lie apart


def read_nifti(channel_paths: Sequence[Path], label_path: Path | None, *, patient_id: str) -> Volume:
    """Read one patient.

    Args:
        channel_paths: one 3D file a channel in the network's order, or a single 4D file with channels on the last axis.
        label_path: 3D label map on the same grid: every voxel above zero is lesion. `None`: no mask.
        patient_id: names the volume.

    Returns:
        A volume in radiological axial order. Integers keep their dtype; scaled values are float32.

    Raises:
        FileError: a file is missing or damaged, holds no affine, has voxels without size, NaN or another shape or
            place than the first one; or the label map holds fractions.
        ValueError: no channel paths.
    """
    if not channel_paths:
        raise ValueError("read_nifti needs at least one channel")
    channels: list[Array] = []
    geometry: NiftiGeometry | None = None
    for path in channel_paths:
        values, found = _read(path, most_axes=4)
        if values.ndim == 4 and len(channel_paths) > 1:
            raise FileError(
                path, "wrong-shape", "a 4D file among several; give one 3D file a channel, or one 4D file alone"
            )
        geometry = geometry or found
        _check_same_grid(path, found, channel_paths[0], geometry)
        channels.append(to_display(values if values.ndim == 4 else values[..., None], geometry.orientation_32))
    assert geometry is not None
    mask_SHW = None
    if label_path is not None:
        label, found = _read(label_path, most_axes=3)
        _check_same_grid(label_path, found, channel_paths[0], geometry)
        if label.dtype.kind == "f" and not np.array_equal(label, np.rint(label)):
            raise FileError(
                label_path, "mask-values", "a label map with fractions; save whole numbers, 0 for background"
            )
        mask_SHW = np.ascontiguousarray(to_display(label, geometry.orientation_32) > 0, dtype=np.uint8)
    image_SHWC = np.ascontiguousarray(np.concatenate(channels, axis=-1))
    return Volume(
        patient_id=patient_id,
        image_SHWC=image_SHWC,
        mask_SHW=mask_SHW,
        spacing_mm=display_spacing_mm(geometry.affine_44, geometry.orientation_32),
        names=tuple(str(number) for number in range(image_SHWC.shape[0])),
        nifti=geometry,
    )


def write_nifti(volume: Volume, mask_SHW: Array, path: Path) -> None:
    """Write a result in the orientation, grid and affine of the volume's own file, whole or not at all.

    Only geometry is copied from the input's header: free text, which may name a patient, is left behind.

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
    if not is_nifti(path):
        raise FileError(path, "wrong-type", "cannot write NIfTI under this name; end it in .nii or .nii.gz")
    dtype = np.float32 if mask_SHW.dtype.kind == "f" else np.uint8
    values = np.ascontiguousarray(from_display(mask_SHW, volume.nifti.orientation_32).astype(dtype))
    header = _result_header(volume.nifti)
    header.set_data_dtype(dtype)
    image_class = nib.Nifti2Image if header.sizeof_hdr == 540 else nib.Nifti1Image
    with atomic_path(path) as temporary:
        nib.save(image_class(values, header.get_best_affine(), header), temporary)


def _read(path: Path, *, most_axes: int) -> tuple[Array, NiftiGeometry]:
    """Voxels in the file's own order, 3D or 4D, with what places them."""
    if not is_nifti(path):
        raise FileError(path, "wrong-type", "not a NIfTI file: the name must end in .nii or .nii.gz; convert it")
    try:
        with ImageOpener(path, "rb") as stream:
            header_bytes = _header_bytes(stream)
            header = _parse_header(header_bytes)
            shape = _check_header(path, header, most_axes=most_axes)
            voxels = np.asarray(header.raw_data_from_fileobj(stream))
            stream.read(1)  # reaching the end makes a compressed file compare its checksum
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(path, "missing-file", "no such file; restore it") from None
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise FileError(path, "unreadable", f"cannot be read as NIfTI ({error}); copy or convert it again") from error
    values = _scale(path, voxels.reshape(shape, order="F"), header)
    return values, _geometry(path, header, header_bytes, shape)


def _header_bytes(stream: BinaryIO) -> bytes:
    start = stream.read(4)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    for size in _HEADERS:
        if size in sizes:
            return start + stream.read(size - 4)
    raise ValueError("no NIfTI header")


def _parse_header(header_bytes: bytes) -> Any:
    # Unchecked: nibabel's own check would mend voxels without size by setting them to 1.
    header = _HEADERS[len(header_bytes)].from_fileobj(io.BytesIO(header_bytes), check=False)
    if header["magic"].item() not in _MAGIC:
        raise ValueError("the header is not that of a single NIfTI file")
    if header.get_data_offset() < len(header_bytes) + 4:
        raise ValueError("the voxels would start within the header")
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard's reading of 0
    return header


def _check_header(path: Path, header: Any, *, most_axes: int) -> tuple[int, ...]:
    """The shape without trailing axes of one voxel, after all that can be refused before voxels are read."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 3 <= len(shape) <= most_axes or min(shape) < 1:
        wanted = "a 3D volume" if most_axes == 3 else "a 3D volume, or a 4D one with channels last"
        raise FileError(path, "wrong-shape", f"{_sizes(shape)} voxels, expected {wanted}; split or convert it")
    if math.prod(shape) > _MAX_VOXELS:
        raise FileError(path, "too-large", f"claims {_sizes(shape)} voxels, more than any scan holds; convert it again")
    if header.get_data_dtype().kind not in "iuf":
        raise FileError(path, "wrong-type", f"{header.get_data_dtype()} voxels, expected real numbers; convert it")
    codes = (int(header["sform_code"]), int(header["qform_code"]))
    if not all(0 <= code <= _LAST_CODE for code in codes):
        problem = (
            f"sform_code {codes[0]}, qform_code {codes[1]}: no such coordinate system; convert it from DICOM again"
        )
        raise FileError(path, "bad-geometry", problem)
    if codes == (0, 0):
        problem = (
            "no affine (sform_code and qform_code are 0), so left and right are unknown; convert it from DICOM again"
        )
        raise FileError(path, "no-affine", problem)
    if not (header["pixdim"][1:4] > 0).all():
        sides = ", ".join(f"{side:g}" for side in header["pixdim"][1:4])
        raise FileError(path, "bad-geometry", f"voxel sides {sides} (pixdim), expected positive; convert it again")
    return shape


def _scale(path: Path, voxels: Array, header: Any) -> Array:
    slope, intercept = header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and refused below
        if slope is None or (slope == 1 and intercept == 0):
            values = voxels.astype(np.float32 if voxels.dtype.kind == "f" else voxels.dtype.newbyteorder("="))
        else:
            values = (voxels * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FileError(path, "not-finite", "holds NaN or infinite voxels; replace them, for example by 0")
    return values


def _geometry(path: Path, header: Any, header_bytes: bytes, shape: tuple[int, ...]) -> NiftiGeometry:
    with np.errstate(all="ignore"):  # damaged numbers end as NaN or infinity, and are refused below
        try:
            affine_44 = np.array(header.get_best_affine(), dtype=np.float64)
            affine_44[:3] *= _MILLIMETRES[header.get_xyzt_units()[0]]
        except (KeyError, ValueError) as error:  # an unknown unit, or a quaternion longer than 1
            raise FileError(path, "bad-geometry", f"no valid affine ({error}); convert it from DICOM again") from error
        sides = np.linalg.norm(affine_44[:3, :3], axis=0)
        cell = abs(np.linalg.det(affine_44[:3, :3] / sides)) if np.isfinite(affine_44).all() else 0.0
    if not cell > _FLAT:  # refuses NaN too
        raise FileError(path, "bad-geometry", "the affine is singular or not finite; convert it from DICOM again")
    return NiftiGeometry(
        affine_44=affine_44,
        shape=(shape[0], shape[1], shape[2]),
        orientation_32=nib.orientations.io_orientation(affine_44),
        header=header_bytes,
    )


def _check_same_grid(path: Path, found: NiftiGeometry, reference_path: Path, reference: NiftiGeometry) -> None:
    if found.shape != reference.shape:
        problem = f"{_sizes(found.shape)} voxels, but {reference_path.name} has {_sizes(reference.shape)}"
        raise FileError(path, "wrong-shape", f"{problem}; resample it to that grid")
    corners_48 = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]).T
    corners_48[:3] *= np.array(reference.shape)[:, None] - 1
    apart_mm = np.abs((found.affine_44 - reference.affine_44) @ corners_48).max()
    if apart_mm > _SAME_GRID * np.linalg.norm(reference.affine_44[:3, :3], axis=0).min():
        problem = f"lies {apart_mm:.3g} mm away from {reference_path.name} (affines differ); register and resample it"
        raise FileError(path, "bad-geometry", problem)


def _result_header(geometry: NiftiGeometry) -> Any:
    """A fresh header that takes from the input nothing but its geometry."""
    source = _parse_header(geometry.header)
    header = type(source)()
    header.set_data_shape(geometry.shape)
    header["pixdim"][:4] = source["pixdim"][:4]
    for field in _GEOMETRY_FIELDS:
        header[field] = source[field]
    header["xyzt_units"] = int(source["xyzt_units"]) & _SPATIAL_UNIT_BITS
    return header


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
