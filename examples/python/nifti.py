"""An 8-bit NIfTI-1 volume as axial slices, and its mask on the file's own grid. Needs nibabel.

Voxels are reordered, never interpolated. What could give a wrong mask is refused: anything but four dimensions with the
network's channels last, unsigned 8-bit, unscaled; no place in space.
"""

import gzip
import math
import sys
import zlib

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

# Slices from foot to head, rows from front to back, columns from the patient's right to left.
DISPLAY = axcodes2ornt("LPS")
GEOMETRY = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def is_nifti(path):
    return path.name.endswith((".nii", ".nii.gz"))


def read(path, n_channels):
    """The image, uint8 (slices, rows, columns, channels), and the header for `write`."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        sys.exit(f"{path}: damaged, cannot be read ({error})")
    if len(content) < 352:
        sys.exit(f"{path}: not a NIfTI-1 file in one piece")
    header = nib.Nifti1Header(content[:348], check=False)  # a check would mend what is damaged
    problem = problem_of(header, n_channels, len(content))
    if problem:
        sys.exit(f"{path}: {problem}")
    shape = header["dim"][1:5].tolist()
    voxels = np.frombuffer(content, np.uint8, math.prod(shape), int(header["vox_offset"])).reshape(shape, order="F")
    way = ornt_transform(io_orientation(affine_of(header)), DISPLAY)
    return np.ascontiguousarray(apply_orientation(voxels, way).transpose(2, 1, 0, 3)), header


def write(path, mask, source):
    """The mask, uint8 (slices, rows, columns), on the grid of the file whose header is `source`."""
    header = nib.Nifti1Header()  # the input's geometry alone: its free text may name a patient
    header.set_data_shape(source["dim"][1:4])
    header["pixdim"][:4] = source["pixdim"][:4]
    header["xyzt_units"] = int(source["xyzt_units"]) & 7  # the unit of length
    for field in GEOMETRY:
        header[field] = source[field]
    header.set_data_dtype(np.uint8)
    way = ornt_transform(DISPLAY, io_orientation(affine_of(source)))
    nib.save(nib.Nifti1Image(apply_orientation(mask.transpose(2, 1, 0), way), affine_of(header), header), path)


def problem_of(header, n_channels, n_bytes):
    """What is wrong with a file of so many bytes, or None."""
    dim = header["dim"].tolist()
    if header["sizeof_hdr"] != 348 or header["magic"] != b"n+1":
        return "not a NIfTI-1 file in one piece"
    if dim[0] != 4:
        return f"{dim[0]} dimensions, needs 4: three of space, then channels"
    if dim[4] != n_channels:
        return f"{dim[4]} channels on its last axis, needs {n_channels}"
    if header["datatype"] != 2 or header["bitpix"] != 8:
        return "its voxels are not unsigned 8-bit; `wcr-med infer` takes any real numbers"
    slope, intercept = header["scl_slope"], header["scl_inter"]
    if np.isfinite(slope) and slope != 0 and not (slope == 1 and intercept == 0):
        return "its voxels are scaled (scl_slope, scl_inter); `wcr-med infer` takes it"
    if min(dim[1:4]) < 1 or not (header["pixdim"][1:4] > 0).all():
        return "voxels without number or size (dim, pixdim)"
    if not header["vox_offset"] >= 352:
        return "its voxels would start within the header (vox_offset)"
    if not float(header["vox_offset"]) + math.prod(dim[1:5]) <= n_bytes:
        return "it ends before its last voxel; copy it again"
    codes = int(header["sform_code"]), int(header["qform_code"])
    if codes == (0, 0) or not all(0 <= code <= 5 for code in codes):
        return "no place in space (sform_code, qform_code): left and right are unknown"
    try:
        matrix = affine_of(header)[:3, :3]
    except ValueError:
        return "its quaternion is no rotation"
    with np.errstate(all="ignore"):
        cell = abs(np.linalg.det(matrix / np.linalg.norm(matrix, axis=0)))
    return None if cell > 1e-3 else "its axes lie in one plane (affine)"  # NaN is refused, too


def affine_of(header):
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard's reading of 0
    return header.get_best_affine()
