"""What a segmenter answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The segmentation of one volume.

    Attributes:
        mask: uint8 0 and 1, (slices, rows, columns) of the image.
        probability: float32 in [0, 1], of the same shape.
        threshold: a voxel is in the mask where its probability is at least this.
        spacing_mm: millimetres between slices, rows and columns; `None` where the caller did not say.
        warnings: what speaks against the image, so that the mask may be wrong; empty where nothing does.
    """

    mask: Array
    probability: Array
    threshold: float
    spacing_mm: tuple[float, float, float] | None
    warnings: tuple[str, ...] = ()

    @property
    def n_voxels(self) -> int:
        """Voxels of the mask; 0 without lesion."""
        return int(np.count_nonzero(self.mask))

    @property
    def n_slices_with_lesion(self) -> int:
        """Slices with at least one voxel of the mask."""
        return int(self.mask.any(axis=(1, 2)).sum())

    @property
    def volume_ml(self) -> float | None:
        """Volume of the mask in millilitres; `None` where the spacing is unknown."""
        return volume_ml(self.n_voxels, self.spacing_mm)


def volume_ml(n_voxels: int, spacing_mm: tuple[float, float, float] | None) -> float | None:
    """Millilitres of so many voxels; `None` where their size is unknown."""
    if spacing_mm is None:
        return None
    slices_mm, rows_mm, columns_mm = spacing_mm
    return n_voxels * slices_mm * rows_mm * columns_mm / 1000


def checked_spacing(spacing: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """Three positive numbers, or `None`.

    Raises:
        UserError: anything else.
    """
    if spacing is None:
        return None
    try:
        slices_mm, rows_mm, columns_mm = (float(size) for size in spacing)
    except (TypeError, ValueError):
        raise _bad_spacing(spacing) from None
    if not all(0 < size < np.inf for size in (slices_mm, rows_mm, columns_mm)):
        raise _bad_spacing(spacing)
    return slices_mm, rows_mm, columns_mm


def _bad_spacing(spacing: object) -> UserError:
    return UserError(f"spacing {spacing}: give three positive numbers, millimetres between slices, rows and columns")
