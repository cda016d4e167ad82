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
from scipy.spatial import cKDTree

from wcr_med.metrics.boxes import bounding_box

Array = npt.NDArray[Any]

_MOST_POINTS = 200_000  # surface voxels; beyond them the transform of a whole head is faster than the tree


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
    box = bounding_box(reference | prediction)
    assert box is not None  # neither mask is empty
    reference_surface, prediction_surface = _surface(reference[box]), _surface(prediction[box])
    n_voxels = int(np.count_nonzero(reference_surface) + np.count_nonzero(prediction_surface))
    measure = _distances_of_points if n_voxels <= _MOST_POINTS else _distances_of_grid
    return SurfaceDistances(
        to_prediction=measure(reference_surface, prediction_surface, spacing),
        to_reference=measure(prediction_surface, reference_surface, spacing),
        diagonal=diagonal,
        both_empty=False,
    )


def _surface(mask: Array) -> Array:
    """The surface voxels of a bool mask; a neighbour outside the array counts as background."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for start in (0, 2):
            sides = [slice(1, -1)] * mask.ndim
            sides[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(sides)]
    outside: Array = mask & ~inner
    return outside


def _distances_of_points(from_surface: Array, to_surface: Array, spacing: tuple[float, ...]) -> Array:
    """By a tree of the surface voxels alone: fast where there are few, however large the box around them."""
    tree = cKDTree(_points(to_surface, spacing), balanced_tree=False, compact_nodes=False)
    distance: Array = tree.query(_points(from_surface, spacing))[0]
    return distance


def _points(mask: Array, spacing: tuple[float, ...]) -> Array:
    places = np.unravel_index(np.flatnonzero(mask), mask.shape)
    return np.stack([place * step for place, step in zip(places, spacing, strict=True)], axis=1)


def _distances_of_grid(from_surface: Array, to_surface: Array, spacing: tuple[float, ...]) -> Array:
    """By a distance transform of the whole box: its time does not grow with the surface."""
    # Asking for the nearest voxel, not its distance, spares the transform a square root over the whole box.
    nearest = ndimage.distance_transform_edt(~to_surface, sampling=spacing, return_distances=False, return_indices=True)
    steps = np.stack([nearest[axis][from_surface] - index for axis, index in enumerate(np.nonzero(from_surface))])
    distance: Array = np.sqrt(np.square(steps * np.array(spacing)[:, None]).sum(axis=0))
    return distance
