"""NIfTI files of a patient: sound ones of many orientations, and ones that are to be refused."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import axcodes2ornt, ornt_transform

from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

_SLICES = np.array([[-0.9, 0, 0, 110], [0, -0.8, 0, 95], [0, 0, 5, -40], [0, 0, 0, 1]])  # as axial slices lie
_NAME = b"somebody's name"

SCANS = {
    "as_slices": ("as_slices.nii", "LPS", 0.0, "sform"),
    "turned": ("turned.nii.gz", "RAS", 0.0, "both"),
    "oblique": ("oblique.nii.gz", "PIR", 20.0, "both"),
    "by_quaternion": ("by_quaternion.nii", "SAL", -15.0, "qform"),
}
"""name -> file name, axes of the voxels, degrees off those of the body, what places them."""


def scan(image_SHWC: Array, axes: str, degrees: float, code: str, *, affine_44: Array = _SLICES) -> nib.Nifti1Image:
    """The image, in radiological axial order, as a NIfTI image whose axes run as the letters say."""
    lps = nib.Nifti1Image(np.ascontiguousarray(image_SHWC.transpose(2, 1, 0, 3)), rotation_44(degrees) @ affine_44)
    image = lps.as_reoriented(ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(axes)))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = _NAME
    image.header["sform_code"], image.header["qform_code"] = {"sform": (2, 0), "qform": (0, 1), "both": (2, 1)}[code]
    if code != "sform":
        image.set_qform(image.affine, code=1)
    if code == "qform":
        image.header["srow_x"] = image.header["srow_y"] = image.header["srow_z"] = 7  # nobody is to read them
    return image


def rotation_44(degrees: float) -> Array:
    """About x, then by half as much about z."""
    turn_44 = np.eye(4)
    for angle, (first, second) in ((np.radians(degrees), (1, 2)), (np.radians(degrees) / 2, (0, 1))):
        step_44 = np.eye(4)
        step_44[[first, second], [first, second]] = np.cos(angle)
        step_44[first, second], step_44[second, first] = -np.sin(angle), np.sin(angle)
        turn_44 = step_44 @ turn_44
    return turn_44


def write_scans(folder: Path, volume: Volume) -> dict[str, Path]:
    """Every sound one."""
    for name, *how in SCANS.values():
        nib.save(scan(volume.image_SHWC, *how), folder / name)
    return {key: folder / name for key, (name, *_) in SCANS.items()}


def require_grid(mask: Path, source: Path) -> None:
    """Assert that a mask lies on the grid of its image to the last bit, and takes nothing else from it."""
    found, expected = (nib.load(path).header for path in (mask, source))
    assert found.get_data_dtype() == np.uint8
    assert found.get_data_shape() == expected.get_data_shape()[:3]
    np.testing.assert_array_equal(found.get_best_affine(), expected.get_best_affine())
    for field in ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x"):
        assert np.array_equal(found[field], expected[field]), field
    np.testing.assert_array_equal(found["pixdim"][:4], expected["pixdim"][:4])
    assert found.get_xyzt_units() == ("mm", "unknown")
    assert _NAME not in gzip.decompress(mask.read_bytes())


def _small(shape: tuple[int, ...] = (6, 5, 4, 3), dtype: npt.DTypeLike = np.uint8, **fields: Any) -> bytes:
    image = nib.Nifti1Image(np.ones(shape, dtype), np.diag([1.0, 2, 3, 1]), dtype=dtype)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "truncated": ("a.nii", _small()[:-1], "ends before its last voxel"),
    "truncated, packed": ("a.nii.gz", gzip.compress(_small())[:-20], "damaged"),
    "another checksum": ("a.nii.gz", _flipped(gzip.compress(_small()), -6), "damaged"),
    "empty": ("a.nii", b"", "not a NIfTI-1 file"),
    "text": ("a.nii", b"no volume at all. " * 100, "not a NIfTI-1 file"),
    "another magic": ("a.nii", _small(magic=b"ni1"), "not a NIfTI-1 file"),
    "NIfTI-2": ("a.nii", nib.Nifti2Image(np.ones((2, 2, 2, 3), np.uint8), np.eye(4)).to_bytes(), "not a NIfTI-1 file"),
    "three dimensions": ("a.nii", _small((6, 5, 4)), "3 dimensions"),
    "five dimensions": ("a.nii", _small((6, 5, 4, 1, 3)), "5 dimensions"),
    "two channels": ("a.nii", _small((6, 5, 4, 2)), "2 channels"),
    "floating point": ("a.nii", _small(dtype=np.float32), "8-bit"),
    "16 bits": ("a.nii.gz", gzip.compress(_small(dtype=np.int16)), "8-bit"),
    "scaled": ("a.nii", _small(scl_slope=2), "scaled"),
    "no size": ("a.nii", _small(pixdim=[1, 0, 1, 1, 1, 1, 1, 1]), "size"),
    "a negative number": ("a.nii", _small(dim=[4, 6, -5, 4, 3, 1, 1, 1]), "number"),
    "voxels in the header": ("a.nii", _small(vox_offset=0), "vox_offset"),
    "voxels nowhere": ("a.nii", _small(vox_offset=np.nan), "vox_offset"),
    "no place": ("a.nii", _small(sform_code=0, qform_code=0), "left and right"),
    "an unknown place": ("a.nii", _small(sform_code=9), "left and right"),
    "no rotation": ("a.nii", _small(sform_code=0, qform_code=1, quatern_b=2), "rotation"),
    "a flat grid": ("a.nii", _small(srow_z=[0, 0, 0, 1]), "axes"),
    "an infinite grid": ("a.nii", _small(srow_x=np.nan), "axes"),
}
"""name -> file name, content, words of the refusal."""
