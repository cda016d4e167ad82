"""What the header of a NIfTI file says, checked before a voxel is read."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from wcr_med.volumes.names import is_nifti
from wcr_med.volumes.volume import MAX_VOXELS, FileError, NiftiGeometry

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by size in bytes
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_MAGIC = (b"n+1", b"n+2")
_LAST_CODE = 5  # of the coordinate systems that the standard names
_FLAT = 1e-3  # volume of a cell with sides of 1, below which its axes lie in one plane
_SAME_GRID = 0.01  # of the smallest voxel side: how far corners of two grids that are one may lie apart
_LARGEST_OFFSET = 2**26  # bytes before the voxels: extensions of the header
_LARGEST_RATIO = 1100  # of bytes to their deflated form: the format allows 1032


@dataclass(frozen=True, kw_only=True, eq=False)
class NiftiFile:
    """A file whose header is sound; its voxels are not read yet.

    Attributes:
        path: of the file.
        shape: voxels along its own axes, 3 or 4 of them.
        stored: dtype of the voxels in the file.
        dtype: of the voxels once they are scaled: integers keep theirs, everything else is float32.
        slope: a voxel is slope * stored + intercept; 1 and 0 where nothing is to be scaled.
        intercept: see there.
        offset: bytes before the voxels.
        geometry: what places the voxels.
    """

    path: Path
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    geometry: NiftiGeometry


def open_header(path: Path, *, most_axes: int) -> NiftiFile:
    """Read and check a header.

    Args:
        path: ends in .nii or .nii.gz.
        most_axes: 3, or 4 where the last one may hold channels; further axes of one voxel do not count.

    Raises:
        FileError: the file is missing or damaged, too short for what it claims, or no volume that can be placed.
    """
    if not is_nifti(path):
        raise FileError(path, "wrong-type", "not a NIfTI file: the name must end in .nii or .nii.gz; convert it")
    try:
        size = path.stat().st_size
        with ImageOpener(path, "rb") as stream:
            header_bytes = _header_bytes(stream)
        header = parse_header(header_bytes)
        shape = _check_header(path, header, most_axes=most_axes)
        slope, intercept = (None if number is None else float(number) for number in header.get_slope_inter())
        offset = int(header.get_data_offset())
        _check_size(path, shape, header, offset, size)
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(path, "missing-file", "no such file; restore it") from None
    except PermissionError:
        raise FileError(path, "unreadable", "not permitted to read it; check its permissions") from None
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise unreadable(path, error) from error
    stored = header.get_data_dtype()
    plain = slope is None or (slope == 1 and intercept == 0)
    whole = plain and stored.kind != "f"
    return NiftiFile(
        path=path,
        shape=shape,
        stored=stored,
        dtype=stored.newbyteorder("=") if whole else np.dtype(np.float32),
        slope=1.0 if plain or slope is None else slope,
        intercept=0.0 if plain or intercept is None else intercept,
        offset=offset,
        geometry=_geometry(path, header, header_bytes, shape),
    )


def unreadable(path: Path, error: Exception) -> FileError:
    """The fault of a file that the decoder stumbles over."""
    return FileError(path, "unreadable", f"cannot be read as NIfTI ({error}); copy or convert it again")


def check_same_grid(path: Path, found: NiftiGeometry, reference_path: Path, reference: NiftiGeometry) -> None:
    """Refuse a file whose voxels do not lie where those of `reference` do.

    Raises:
        FileError: the shapes or the places differ; the message names both files.
    """
    if found.shape != reference.shape:
        problem = f"{_sizes(found.shape)} voxels, but {reference_path.name} has {_sizes(reference.shape)}"
        raise FileError(path, "wrong-shape", f"{problem}; resample it to that grid")
    corners_48 = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]).T
    corners_48[:3] *= np.array(reference.shape)[:, None] - 1
    apart_mm = np.abs((found.affine_44 - reference.affine_44) @ corners_48).max()
    if apart_mm > _SAME_GRID * np.linalg.norm(reference.affine_44[:3, :3], axis=0).min():
        problem = f"lies {apart_mm:.3g} mm away from {reference_path.name} (affines differ); register and resample it"
        raise FileError(path, "bad-geometry", problem)


def parse_header(header_bytes: bytes) -> Any:
    """The header as nibabel holds it, unmended.

    Raises:
        ValueError: not that of a single NIfTI file.
    """
    # Unchecked: nibabel's own check would mend voxels without size by setting them to 1.
    header = _HEADERS[len(header_bytes)].from_fileobj(io.BytesIO(header_bytes), check=False)
    if header["magic"].item() not in _MAGIC:
        raise ValueError("the header is not that of a single NIfTI file")
    if header.get_data_offset() < len(header_bytes) + 4:
        raise ValueError("the voxels would start within the header")
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard's reading of 0
    return header


def _header_bytes(stream: BinaryIO) -> bytes:
    start = stream.read(4)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    for size in _HEADERS:
        if size in sizes:
            return start + stream.read(size - 4)
    raise ValueError("no NIfTI header")


def _check_header(path: Path, header: Any, *, most_axes: int) -> tuple[int, ...]:
    """The shape without trailing axes of one voxel, after all that can be refused before voxels are read."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 3 <= len(shape) <= most_axes or min(shape) < 1:
        wanted = "a 3D volume" if most_axes == 3 else "a 3D volume, or a 4D one with channels last"
        raise FileError(path, "wrong-shape", f"{_sizes(shape)} voxels, expected {wanted}; split or convert it")
    if math.prod(shape) > MAX_VOXELS:
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


def _check_size(path: Path, shape: tuple[int, ...], header: Any, offset: int, size: int) -> None:
    """Whether the file can hold what its header claims, before room is made for it."""
    if offset > _LARGEST_OFFSET:
        raise FileError(path, "too-large", f"its voxels would start after {offset} bytes; convert it again")
    claimed = offset + math.prod(shape) * header.get_data_dtype().itemsize
    most = size * _LARGEST_RATIO if path.name.lower().endswith(".gz") else size
    if claimed > most:
        raise ValueError(f"its header claims {claimed} bytes, too many for a file of {size}")


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


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
