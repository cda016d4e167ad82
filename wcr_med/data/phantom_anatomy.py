"""The heads of the phantom: which tissue is where, drawn as soft shapes over smooth random fields.

Coordinates: x to the right, y to the back, z to the top, the head's surface near radius 1. Intensities: fat is about 1.
Shape suffixes: S slices, H rows, W columns, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

Array = npt.NDArray[Any]
Triple = tuple[float, float, float]

_BRAIN = 0.87  # radius of the brain's surface, share of the head's
_SKULL = 0.935
_LOWEST, _HIGHEST = -0.88, 0.88  # z of the first and the last slice
_LESION_REACH = 0.72  # no lesion beyond this |z|, so the first and last slices hold none

# Pre-contrast, FLAIR, post-contrast.
_FAT = (0.95, 0.85, 0.95)
_BONE = (0.13, 0.14, 0.13)
_CSF = (0.20, 0.12, 0.21)
_GREY = (0.42, 0.52, 0.45)
_WHITE = (0.55, 0.43, 0.57)
_NUCLEI = (0.47, 0.50, 0.49)
_GLIOSIS = (0.46, 0.72, 0.48)
_BLOOD = (0.85, 0.78, 0.85)
_VESSEL = (0.30, 0.20, 0.95)
_MUSCLE = (0.38, 0.36, 0.42)
_AIR = (0.02, 0.03, 0.02)


@dataclass(frozen=True, kw_only=True)
class Head:
    """One patient before the scanner.

    Attributes:
        tissue_CSHW: float32, not negative, about 1 for fat; channels pre-contrast, FLAIR, post-contrast.
        mask_SHW: uint8, 1 in the lesion.
    """

    tissue_CSHW: Array
    mask_SHW: Array


def smooth_noise(rng: np.random.Generator, cells: tuple[int, int, int], grid: tuple[int, int, int]) -> Array:
    """Smooth random field: cubic B-splines over a coarse grid of random values.

    Args:
        rng: draws the coarse values; how many does not depend on `grid`.
        cells: coarse cells along each axis; more cells, finer noise.
        grid: slices, rows, columns of the result.

    Returns:
        float32 of shape `grid`, mean about 0, standard deviation about 1.
    """
    field = rng.standard_normal([n + 3 for n in cells], dtype=np.float32)
    for axis, (n_cells, n_points) in enumerate(zip(cells, grid, strict=True)):
        knots = np.arange(-3, n_cells + 4, dtype=np.float64)
        points = (np.arange(n_points) + 0.5) / n_points * n_cells
        basis = BSpline.design_matrix(points, knots, 3).toarray().astype(np.float32)
        basis /= np.sqrt((basis**2).sum(axis=1, keepdims=True))
        field = np.moveaxis(np.tensordot(basis, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)


def draw_head(rng: np.random.Generator, n_slices: int, size: int, *, head_size: float, with_lesion: bool) -> Head:
    """Draw one patient.

    Args:
        rng: decides everything about the patient.
        n_slices: slices from the skull base to the crown, at least 3.
        size: rows and columns, pixels.
        head_size: length of the head as a share of the slice's.
        with_lesion: without, the mask is empty.
    """
    canvas = _make_canvas(rng, n_slices, size, head_size)
    _draw_shell(canvas)
    brain_SHW = canvas.inside(_BRAIN - canvas.radius)
    ventricles_SHW = _draw_brain(canvas, brain_SHW, rng)
    _draw_base(canvas, rng)
    _draw_lookalikes(canvas, brain_SHW, rng)
    mask_SHW = np.zeros(canvas.grid, dtype=np.uint8)
    if with_lesion:
        mask_SHW = _draw_lesions(canvas, brain_SHW * (1 - ventricles_SHW), rng)
    return Head(tissue_CSHW=canvas.tissue_CSHW, mask_SHW=mask_SHW)


class _Canvas:
    """A head being drawn: the tissue so far, and the head's coordinates at each voxel, warped so that no two are alike.

    Attributes:
        x, y, z: coordinates, float32 (S, H, W); z is constant in a slice.
        radius: distance from the centre, 1 at the surface.
        edge: width of a soft edge, a pixel and a half.
        tissue_CSHW: what is drawn.
    """

    def __init__(self, x: Array, y: Array, z: Array, radius: Array, *, edge: float) -> None:
        self.x, self.y, self.z = x, y, z
        self.radius = radius
        self.edge = edge
        self.grid: tuple[int, int, int] = (x.shape[0], x.shape[1], x.shape[2])
        self.tissue_CSHW: Array = np.zeros((3, *self.grid), dtype=np.float32)
        # Least and greatest coordinate in each slice, row and column: where a small shape can be.
        self._bounds = [
            (field.min(axis=others), field.max(axis=others))
            for field, others in ((z, (1, 2)), (y, (0, 2)), (x, (0, 1)))
        ]

    def inside(self, level: Array) -> Array:
        """1 where `level` is well above zero, 0 well below, a ramp of about a pixel and a half between."""
        ramp: Array = np.clip(level / self.edge + 0.5, 0.0, 1.0)
        return ramp

    def ellipsoid(self, centre: Triple, axes: Triple, *, x: Array | None = None) -> Array:
        """Positive inside, about the distance to the surface; `x` bends the shape when given."""
        return _ellipsoid(self.x if x is None else x, self.y, self.z, centre, axes)

    def paint(self, weight_SHW: Array, intensity_C: Triple) -> None:
        """Blend a tissue over what is there."""
        _blend(self.tissue_CSHW, weight_SHW, intensity_C)

    def paint_ellipsoid(self, centre: Triple, axes: Triple, intensity_C: Triple, *, within_SHW: Array) -> None:
        """Blend an ellipsoid, weighted by `within_SHW`, over the voxels around it alone, since most are small."""
        grow = 1 + self.edge / (2 * min(axes))
        box = []
        for (low, high), middle, axis in zip(self._bounds, reversed(centre), reversed(axes), strict=True):
            touched = np.flatnonzero((high >= middle - grow * axis) & (low <= middle + grow * axis))
            box.append(slice(int(touched[0]), int(touched[-1]) + 1) if touched.size else slice(0))
        part = (box[0], box[1], box[2])
        level = _ellipsoid(self.x[part], self.y[part], self.z[part], centre, axes)
        _blend(self.tissue_CSHW[(slice(None), *part)], within_SHW[part] * self.inside(level), intensity_C)


def _ellipsoid(x: Array, y: Array, z: Array, centre: Triple, axes: Triple) -> Array:
    across, along, up = (x - centre[0]) / axes[0], (y - centre[1]) / axes[1], (z - centre[2]) / axes[2]
    level: Array = (1 - np.sqrt(across * across + along * along + up * up)) * min(axes)
    return level


def _blend(tissue_CSHW: Array, weight_SHW: Array, intensity_C: Triple) -> None:
    for channel, intensity in enumerate(intensity_C):
        tissue_CSHW[channel] += weight_SHW * (np.float32(intensity) - tissue_CSHW[channel])


def _make_canvas(rng: np.random.Generator, n_slices: int, size: int, head_size: float) -> _Canvas:
    pixels = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    length = head_size * rng.uniform(0.93, 1.04)
    width = length * rng.uniform(0.76, 0.84)
    z, y, x = np.meshgrid(
        np.linspace(_LOWEST, _HIGHEST, n_slices, dtype=np.float32),
        (pixels - np.float32(rng.uniform(-0.04, 0.04))) / np.float32(length),
        (pixels - np.float32(rng.uniform(-0.04, 0.04))) / np.float32(width),
        indexing="ij",
    )
    tilt = rng.uniform(-0.12, 0.12)
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x, y = x * cosine - y * sine, x * sine + y * cosine
    grid = (n_slices, size, size)
    x += 0.025 * smooth_noise(rng, (3, 4, 4), grid)
    y += 0.025 * smooth_noise(rng, (3, 4, 4), grid)
    # Flatter than a sphere below, so that the lowest slices are still wide; narrower in front.
    height = np.where(z > 0, z, 0.55 * z)
    radius = np.sqrt((x * (1 - 0.10 * y)) ** 2 + y * y + height * height)
    return _Canvas(x, y, z, radius, edge=1.5 * 2 / (size * length))


def _draw_shell(canvas: _Canvas) -> None:
    """Scalp with a thin layer of muscle, skull, fluid around the brain."""
    layers = ((1.0, _FAT), (0.975, _MUSCLE), (0.965, _FAT), (_SKULL, _BONE), (_BRAIN + 0.018, _CSF))
    for surface, tissue in layers:
        canvas.paint(canvas.inside(surface - canvas.radius), tissue)


def _draw_brain(canvas: _Canvas, brain_SHW: Array, rng: np.random.Generator) -> Array:
    """Cortex with sulci, white matter, nuclei, ventricles; returns the ventricles' share of each voxel."""
    depth = _BRAIN - canvas.radius
    # A sulcus runs along the zero line of a smooth field and reaches some way into the brain.
    fold = np.abs(smooth_noise(rng, (8, 22, 22), canvas.grid)) * 0.045
    reach = 0.19 + 0.05 * smooth_noise(rng, (4, 6, 6), canvas.grid)
    fold += np.maximum(0, depth - reach)
    fissure = np.abs(canvas.x + 0.01 * smooth_noise(rng, (3, 6, 6), canvas.grid))
    fissure += np.maximum(0, 0.26 - np.abs(canvas.y))
    to_fluid = np.minimum(np.minimum(depth, fold), fissure)
    canvas.paint(brain_SHW, _GREY)
    canvas.paint(brain_SHW * canvas.inside(to_fluid - 0.038), _WHITE)
    canvas.paint(brain_SHW * canvas.inside(0.007 - to_fluid), _CSF)
    for side in (-1, 1):
        canvas.paint_ellipsoid((side * 0.24, 0.0, -0.05), (0.09, 0.17, 0.22), _NUCLEI, within_SHW=brain_SHW)
    wide = rng.uniform(0.8, 1.35)
    ventricles = canvas.ellipsoid((0.0, 0.06, -0.22), (0.025 * wide, 0.10, 0.16))
    for side in (-1, 1):
        # Bent outwards to the front and the back: the butterfly of axial slices.
        bent = canvas.x - np.float32(side * 0.9) * (canvas.y - np.float32(0.02)) ** 2
        horn = canvas.ellipsoid((side * 0.075, 0.02, 0.10), (0.065 * wide, 0.40, 0.30 * wide), x=bent)
        ventricles = np.maximum(ventricles, horn)
    canvas.paint(0.8 * brain_SHW * canvas.inside(ventricles + rng.uniform(0.005, 0.02)), _GLIOSIS)
    share: Array = brain_SHW * canvas.inside(ventricles)
    canvas.paint(share, _CSF)
    return share


def _draw_base(canvas: _Canvas, rng: np.random.Generator) -> None:
    """In front below the brain: muscle, bright fat, eyes, and air of the sinuses, as in the lowest real slices."""
    low_SHW = np.clip((-0.45 - canvas.z) / 0.1, 0, 1)
    front = np.minimum(-0.38 - canvas.y + 0.1 * np.abs(canvas.x), 0.95 - canvas.radius)
    face_SHW = low_SHW * canvas.inside(front)
    canvas.paint(face_SHW, _MUSCLE)
    lumps = smooth_noise(rng, (6, 10, 10), canvas.grid) - 0.4
    canvas.paint(face_SHW * canvas.inside(0.05 * lumps), _FAT)
    for side in (-1, 1):
        canvas.paint_ellipsoid((side * 0.36, -0.68, -0.65), (0.16, 0.14, 0.3), _CSF, within_SHW=low_SHW)
    canvas.paint_ellipsoid((0.0, -0.72, -0.7), (0.10, 0.2, 0.4), _AIR, within_SHW=low_SHW)


def _draw_lookalikes(canvas: _Canvas, brain_SHW: Array, rng: np.random.Generator) -> None:
    """Bright things that are no lesion: small spots of gliosis, an old bleeding, vessels."""
    for _ in range(rng.integers(2, 7)):
        axis = rng.uniform(0.015, 0.03)
        axes = (axis, axis, max(axis, 0.04))
        canvas.paint_ellipsoid(_somewhere(rng, 0.55), axes, _GLIOSIS, within_SHW=0.9 * brain_SHW)
    if rng.random() < 0.4:
        # Bright before contrast too: only the channels together tell it from a lesion.
        axes = (rng.uniform(0.05, 0.10), rng.uniform(0.05, 0.10), 0.12)
        canvas.paint_ellipsoid(_somewhere(rng, 0.5), axes, _BLOOD, within_SHW=brain_SHW)
    skull_SHW = canvas.inside(_SKULL - canvas.radius)
    canvas.paint_ellipsoid((0.0, 0.83, 0.1), (0.045, 0.035, 0.9), _VESSEL, within_SHW=skull_SHW)
    for _ in range(rng.integers(4, 10)):
        axes = (0.012, rng.uniform(0.012, 0.05), 0.15)
        canvas.paint_ellipsoid(_somewhere(rng, 0.7), axes, _VESSEL, within_SHW=brain_SHW)


def _somewhere(rng: np.random.Generator, reach: float) -> Triple:
    angle, distance = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.uniform(0.05, 1))
    return float(distance * np.cos(angle)), float(distance * np.sin(angle)), float(rng.uniform(-0.35, 0.55))


def _draw_lesions(canvas: _Canvas, room_SHW: Array, rng: np.random.Generator) -> Array:
    """One lesion, sometimes with a satellite; the mask, uint8, is where it makes up half of the voxel."""
    rough = 0.6 * smooth_noise(rng, (5, 9, 9), canvas.grid) + 0.5 * smooth_noise(rng, (8, 24, 24), canvas.grid)
    size = rng.uniform(0.13, 0.34)
    centre = _lesion_centre(rng, canvas.z[:, 0, 0])
    axes = (size * rng.uniform(0.75, 1.2), size * rng.uniform(0.75, 1.2), max(0.2, size * rng.uniform(0.8, 1.2)))
    level = canvas.ellipsoid(centre, axes)
    if rng.random() < 0.25:
        near = (centre[0] * 0.6, centre[1] + rng.choice([-1, 1]) * 1.4 * axes[1], centre[2])
        level = np.maximum(level, canvas.ellipsoid(near, (0.4 * axes[0], 0.4 * axes[1], 0.6 * axes[2])))
    level += 0.2 * size * rough
    level = np.minimum(level, _LESION_REACH - np.abs(canvas.z))
    softness = rng.uniform(0.012, 0.03)
    share_SHW = room_SHW / (1 + np.exp(np.clip(-level / softness, -30, 30)))
    flair = rng.uniform(0.70, 0.92)
    canvas.paint(
        share_SHW * (0.9 + 0.1 * np.clip(rough, -2, 1)), (rng.uniform(0.30, 0.40), flair, rng.uniform(0.32, 0.44))
    )
    core = level - rng.uniform(0.45, 0.65) * min(axes)
    if rng.random() < 0.35:  # a cyst: dark inside, still lesion
        canvas.paint(share_SHW * canvas.inside(core), (0.24, rng.uniform(0.3, 0.5), 0.26))
    if rng.random() < 0.3:  # an enhancing rim
        canvas.paint(share_SHW * canvas.inside(0.02 - np.abs(core)), (0.4, flair, 0.9))
    mask_SHW: Array = (share_SHW >= 0.5).astype(np.uint8)
    return mask_SHW


def _lesion_centre(rng: np.random.Generator, heights_S: Array) -> Triple:
    """A place in the cerebrum, off the midline, on an inner slice."""
    inner_S = heights_S[1:-1]
    height = float(inner_S[np.argmin(np.abs(inner_S - rng.uniform(-0.15, 0.45)))])
    x = rng.choice([-1, 1]) * rng.uniform(0.25, 0.45)
    return float(x), float(rng.uniform(-0.45, 0.45)), height
