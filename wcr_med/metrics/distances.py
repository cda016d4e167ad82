"""How far the surfaces of two masks lie apart.

A surface voxel is a foreground voxel with a background voxel, or the volume's border, across one of its faces.
Distances run between centres of surface voxels. The empty-mask rule is the project's own (docs/metrics.md): a missed
lesion and a false alarm cost the diagonal of the volume, so that missing more can never bring the mean down.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distances from each surface voxel of one mask to the nearest of the other; every surface score derives from it.

    Attributes:
        to_prediction: one distance for each surface voxel of the reference; empty if either mask is empty.
        to_reference: one distance for each surface voxel of the prediction; empty if either mask is empty.
        diagonal: of the whole volume, in the same unit: an upper bound of every distance.
        both_empty: neither mask has a foreground voxel.
    """

    to_prediction: Array
    to_reference: Array
    diagonal: float
    both_empty: bool

    @property
    def _one_empty(self) -> bool:
        return not self.both_empty and self.to_prediction.size == 0

    def hausdorff(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles (linear interpolation); 95 gives HD95, 100 the Hausdorff distance.

        Returns:
            A distance in the unit of the spacing. NaN if both masks are empty, the volume's diagonal if one is.
        """
        if self.both_empty:
            return math.nan
        if self._one_empty:
            return self.diagonal
        directed = (np.percentile(self.to_prediction, percentile), np.percentile(self.to_reference, percentile))
        return float(max(directed))

    @property
    def hd95(self) -> float:
        """The 95th percentile Hausdorff distance; see `hausdorff`."""
        return self.hausdorff(95.0)

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean over all surface voxels of both masks.

        NaN if both masks are empty, the volume's diagonal if one is.
        """
        if self.both_empty:
            return math.nan
        if self._one_empty:
            return self.diagonal
        total = self.to_prediction.sum() + self.to_reference.sum()
        return float(total / (self.to_prediction.size + self.to_reference.size))

    def surface_dice(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both surfaces within `tolerance` of the other (Nikolov 2021).

        Args:
            tolerance: in the unit of the spacing, not negative.

        Returns:
            A value in [0, 1]; NaN if both masks are empty, 0 if one is.
        """
        if tolerance < 0:
            raise ValueError(f"tolerance is {tolerance}; it cannot be negative")
        if self.both_empty:
            return math.nan
        if self._one_empty:
            return 0.0
        within = np.count_nonzero(self.to_prediction <= tolerance) + np.count_nonzero(self.to_reference <= tolerance)
        return within / (self.to_prediction.size + self.to_reference.size)


def surface_distances(
    reference: Array, prediction: Array, *, spacing: Sequence[float] | None = None
) -> SurfaceDistances:
    """Measure the surfaces of two masks against each other.

    The work is done inside the box that holds both masks; what lies outside cannot change a distance.

    Args:
        reference: any number of axes, bool or integer, non-zero is foreground.
        prediction: the same shape.
        spacing: the step along each axis, positive, in the unit that the distances shall have; `None`: 1 along each.

    Raises:
        ValueError: the shapes differ, or the spacing does not fit them.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference of shape {reference.shape}, prediction of shape {prediction.shape}")
    spacing = tuple(spacing) if spacing is not None else (1.0,) * reference.ndim
    if len(spacing) != reference.ndim or not all(step > 0 for step in spacing):
        raise ValueError(f"spacing {spacing} does not fit {reference.ndim} axes")
    diagonal = math.hypot(*(size * step for size, step in zip(reference.shape, spacing, strict=True)))
    reference, prediction = reference != 0, prediction != 0
    nothing = np.zeros(0)
    if not reference.any() or not prediction.any():
        both_empty = not reference.any() and not prediction.any()
        return SurfaceDistances(to_prediction=nothing, to_reference=nothing, diagonal=diagonal, both_empty=both_empty)
    box = _bounding_box(reference | prediction)
    reference_surface, prediction_surface = _surface(reference[box]), _surface(prediction[box])
    return SurfaceDistances(
        to_prediction=_distances(reference_surface, prediction_surface, spacing),
        to_reference=_distances(prediction_surface, reference_surface, spacing),
        diagonal=diagonal,
        both_empty=False,
    )


def _bounding_box(mask: Array) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def _surface(mask: Array) -> Array:
    surface: Array = mask & ~ndimage.binary_erosion(mask)  # a neighbour outside the array counts as background
    return surface


def _distances(from_surface: Array, to_surface: Array, spacing: tuple[float, ...]) -> Array:
    # Asking for the nearest voxel, not its distance, spares the transform a square root over the whole box.
    nearest = ndimage.distance_transform_edt(~to_surface, sampling=spacing, return_distances=False, return_indices=True)
    steps = np.stack([nearest[axis][from_surface] - index for axis, index in enumerate(np.nonzero(from_surface))])
    distance: Array = np.sqrt(np.square(steps * np.array(spacing)[:, None]).sum(axis=0))
    return distance
