"""From a file's axes to radiological axial slices and back: voxels are reordered, never interpolated.

Slices run from foot to head, rows from front to back, columns from the patient's right to left.
"""

import nibabel as nib
import numpy as np

from wcr_med.volumes.volume import Array

_DISPLAY = nib.orientations.axcodes2ornt(("L", "P", "S"))  # columns, rows, slices


def to_display(values: Array, orientation_32: Array) -> Array:
    """File order (three axes, then any) to slices, rows, columns, then any.

    Args:
        values: at least three axes.
        orientation_32: nibabel's orientation array of the first three.
    """
    way = nib.orientations.ornt_transform(orientation_32, _DISPLAY)
    return np.swapaxes(nib.orientations.apply_orientation(values, way), 0, 2)


def from_display(values_SHW: Array, orientation_32: Array) -> Array:
    """Slices, rows, columns back to file order; undoes `to_display`."""
    way = nib.orientations.ornt_transform(_DISPLAY, orientation_32)
    back: Array = nib.orientations.apply_orientation(np.swapaxes(values_SHW, 0, 2), way)
    return back


def display_spacing_mm(affine_44: Array, orientation_32: Array) -> tuple[float, float, float]:
    """Millimetres between slices, rows and columns as `to_display` orders them."""
    sides = np.linalg.norm(affine_44[:3, :3], axis=0)
    axes = np.argsort(orientation_32[:, 0])  # the file's axis that runs along x, y, z
    x, y, z = (float(sides[axis]) for axis in axes)
    return z, y, x
