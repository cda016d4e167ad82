"""How far the surfaces of two masks lie apart.

The surface lies between voxels. It is made of elements, one at each corner at which voxels inside and outside meet: at
the common corner of 2 x 2 x 2 voxels, or of 2 x 2 pixels in a plane. Marching cubes give an element its area (in a
plane its length), by the lookup table of Nikolov et al. (2021), as MONAI holds it. What lies beyond the volume is
outside. Distances run between elements; every score weighs an element by its area, so that none depends on how finely
one axis is sampled. The empty-mask rule is the project's own (docs/metrics.md): a missed lesion and a false alarm cost
the diagonal of the volume, so that missing more can never bring the mean down.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from wcr_med.metrics.boxes import bounding_box

Array = npt.NDArray[Any]

_MOST_POINTS = 200_000  # surface elements; beyond them the transform of a whole head is faster than the tree


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distances from each surface element of one mask to the nearest of the other; every surface score derives from it.

    Attributes:
        to_prediction: float64, one distance for each surface element of the reference; empty if either mask is empty.
        to_reference: one distance for each surface element of the prediction; empty if either mask is empty.
        reference_area: area of each element of the reference, in the square of the unit (of a plane: its length, in the
            unit); `prediction_area` of the prediction.
        diagonal: of the whole volume, in the same unit: an upper bound of every distance.
        both_empty: neither mask has a foreground voxel.
    """

    to_prediction: Array
    to_reference: Array
    reference_area: Array
    prediction_area: Array
    diagonal: float
    both_empty: bool

    @property
    def _one_empty(self) -> bool:
        return not self.both_empty and self.to_prediction.size == 0

    def hausdorff(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles; 95 gives HD95, 100 the Hausdorff distance.

        A directed percentile is the least distance within which this share of the surface's area lies.

        Returns:
            A distance in the unit of the spacing. NaN if both masks are empty, the volume's diagonal if one is.
        """
        if self.both_empty:
            return math.nan
        if self._one_empty:
            return self.diagonal
        return max(
            _percentile(self.to_prediction, self.reference_area, percentile),
            _percentile(self.to_reference, self.prediction_area, percentile),
        )

    @property
    def hd95(self) -> float:
        """The 95th percentile Hausdorff distance; see `hausdorff`."""
        return self.hausdorff(95.0)

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean over the area of both surfaces together.

        NaN if both masks are empty, the volume's diagonal if one is.
        """
        if self.both_empty:
            return math.nan
        if self._one_empty:
            return self.diagonal
        total = self.to_prediction @ self.reference_area + self.to_reference @ self.prediction_area
        return float(total / self._area)

    def surface_dice(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both surfaces' area within `tolerance` of the other (Nikolov 2021).

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
        beyond = self.reference_area[self.to_prediction > tolerance].sum()
        beyond += self.prediction_area[self.to_reference > tolerance].sum()
        return max(0.0, float(1.0 - beyond / self._area))

    @property
    def _area(self) -> float:
        return float(self.reference_area.sum() + self.prediction_area.sum())


def surface_distances(
    reference: Array, prediction: Array, *, spacing: Sequence[float] | None = None
) -> SurfaceDistances:
    """Measure the surfaces of two masks against each other.

    The work is done inside the box that holds both masks; what lies outside cannot change a distance. A volume of one
    slice is measured as a plane: its surface is the contour, without the slice's two faces.

    Args:
        reference: two or three axes, bool or integer, non-zero is foreground.
        prediction: the same shape.
        spacing: the step along each axis, positive, in the unit that the distances shall have; `None`: 1 along each.

    Raises:
        ValueError: the shapes differ, there are other numbers of axes, or the spacing does not fit them.
    """
    if reference.shape != prediction.shape or reference.ndim not in (2, 3):
        shapes = f"reference of shape {reference.shape}, prediction of shape {prediction.shape}"
        raise ValueError(f"{shapes}; expected the same two or three axes")
    spacing = tuple(map(float, spacing)) if spacing is not None else (1.0,) * reference.ndim
    if len(spacing) != reference.ndim or not all(0 < step < math.inf for step in spacing):
        raise ValueError(f"spacing {spacing} does not fit {reference.ndim} axes")
    diagonal = math.hypot(*(size * step for size, step in zip(reference.shape, spacing, strict=True)))
    reference, prediction = reference != 0, prediction != 0
    if reference.ndim == 3 and len(reference) == 1:
        reference, prediction, spacing = reference[0], prediction[0], spacing[1:]
    if not reference.any() or not prediction.any():
        nothing = np.zeros(0)
        return SurfaceDistances(
            to_prediction=nothing,
            to_reference=nothing,
            reference_area=nothing,
            prediction_area=nothing,
            diagonal=diagonal,
            both_empty=not reference.any() and not prediction.any(),
        )
    box = bounding_box(reference | prediction)
    assert box is not None  # neither mask is empty
    (reference_surface, reference_area), (prediction_surface, prediction_area) = (
        _surface(mask[box], spacing) for mask in (reference, prediction)
    )
    few = len(reference_area) + len(prediction_area) <= _MOST_POINTS
    measure = _distances_of_points if few else _distances_of_grid
    return SurfaceDistances(
        to_prediction=measure(reference_surface, prediction_surface, spacing),
        to_reference=measure(prediction_surface, reference_surface, spacing),
        reference_area=reference_area,
        prediction_area=prediction_area,
        diagonal=diagonal,
        both_empty=False,
    )


def _percentile(distance: Array, area: Array, percentile: float) -> float:
    order = np.argsort(distance)
    share = np.cumsum(area[order])
    place = int(np.searchsorted(share, percentile / 100 * share[-1] * (1 - 1e-12)))  # rounding of the sum
    return float(distance[order[min(place, len(order) - 1)]])


def _surface(mask: Array, spacing: tuple[float, ...]) -> tuple[Array, Array]:
    """Which corners of the voxels hold an element, bool and one longer along each axis; and the areas of these."""
    area_of_code, weights = _lookup(spacing)
    padded = np.pad(mask, 1).view(np.uint8)
    code = np.zeros([size + 1 for size in mask.shape], dtype=np.uint8)
    for corner in product((0, 1), repeat=mask.ndim):
        shifted = tuple(slice(start, start + size) for start, size in zip(corner, code.shape, strict=True))
        code += padded[shifted] * weights[corner]
    surface = (code != 0) & (code != len(area_of_code) - 1)
    return surface, area_of_code[code[surface]]


@lru_cache(maxsize=64)
def _lookup(spacing: tuple[float, ...]) -> tuple[Array, Array]:
    """Area by code of a neighbourhood (float64), and what each of its 2 x 2 (x 2) voxels adds to the code (uint8)."""
    # Imported here: reading and comparing evaluations needs no torch.
    from monai.metrics.utils import get_code_to_measure_table

    table, kernel = get_code_to_measure_table(spacing)
    weights = kernel.numpy().reshape((2,) * len(spacing)).astype(np.uint8)
    return table.numpy().astype(np.float64), weights


def _distances_of_points(from_surface: Array, to_surface: Array, spacing: tuple[float, ...]) -> Array:
    """By a tree of the surface elements alone: fast where there are few, however large the box around them."""
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
