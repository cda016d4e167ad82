"""The heads of the phantom: which tissue is where, drawn as soft shapes over smooth random fields.

Coordinates: x to the right, y to the back, z to the top, the head's surface near radius 1. Intensities are relative to fat.
Shape suffixes: S slices, H rows, W columns, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

Array = npt.NDArray[Any]

_BRAIN = 0.84  # radius of the brain's surface, share of the head's
_SKULL = 0.92
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


@dataclass(frozen=True, kw_only=True)
class Head:
    """One patient before the scanner.

    Attributes:
        tissue_CSHW: float32, not negative, about 1 for fat; channels pre-contrast, FLAIR, post-contrast.
        mask_SHW: uint8, 1 in the lesion.
    """

    tissue_CSHW: Array
    mask_SHW: Array


@dataclass(frozen=True)
class _Space:
    """The head's coordinates at each voxel, warped so that no two heads are alike, and its soft-edge width."""

    x: Array
    y: Array
    z: Array
    radius: Array
    edge: float

    def inside(self, level: Array) -> Array:
        """1 where `level` is well above zero, 0 well below, a ramp of about a pixel and a half between."""
        ramp: Array = np.clip(level / self.edge + 0.5, 0.0, 1.0)
        return ramp

    def ellipsoid(self, centre: tuple[float, float, float], axes: tuple[float, float, float]) -> Array:
        """Positive inside, about the distance to the surface in head coordinates."""
        x = (self.x - centre[0]) / axes[0]
        y = (self.y - centre[1]) / axes[1]
        z = (self.z - centre[2]) / axes[2]
        level: Array = (1 - np.sqrt(x * x + y * y + z * z)) * min(axes)
        return level


def smooth_noise(rng: np.random.Generator, cells: tuple[int, int, int], grid: tuple[int, int, int]) -> Array:
    """Smooth random field: cubic B-splines over a coarse grid of random values; float32, mean about 0, deviation about 1.

    Args:
        rng: draws the coarse values; how many does not depend on `grid`.
        cells: coarse cells along each axis; more cells, finer noise.
        grid: slices, rows, columns of the result.
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
    space = _make_space(rng, n_slices, size, head_size)
    tissue_CSHW = np.zeros((3, n_slices, size, size), dtype=np.float32)
    _draw_shell(space, tissue_CSHW)
    brain_SHW = space.inside(_BRAIN - space.radius)
    ventricles_SHW = _draw_brain(space, tissue_CSHW, brain_SHW, rng)
    _draw_base(space, tissue_CSHW, rng)
    _draw_lookalikes(space, tissue_CSHW, brain_SHW, rng)
    mask_SHW = np.zeros((n_slices, size, size), dtype=np.uint8)
    if with_lesion:
        _draw_lesions(space, tissue_CSHW, mask_SHW, brain_SHW * (1 - ventricles_SHW), rng)
    return Head(tissue_CSHW=tissue_CSHW, mask_SHW=mask_SHW)


def _make_space(rng: np.random.Generator, n_slices: int, size: int, head_size: float) -> _Space:
    pixels = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    length = head_size * rng.uniform(0.93, 1.04)
    width = length * rng.uniform(0.76, 0.84)
    z, y, x = np.meshgrid(
        np.linspace(_LOWEST, _HIGHEST, n_slices, dtype=np.float32),
        (pixels - rng.uniform(-0.04, 0.04)) / length,
        (pixels - rng.uniform(-0.04, 0.04)) / width,
        indexing="ij",
    )
    tilt = rng.uniform(-0.12, 0.12)
    x, y = x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)
    grid = (n_slices, size, size)
    x = x + 0.025 * smooth_noise(rng, (3, 4, 4), grid)
    y = y + 0.025 * smooth_noise(rng, (3, 4, 4), grid)
    # Flatter than a sphere below, so that the lowest slices are still wide; narrower in front.
    height = np.where(z > 0, z, 0.55 * z)
    radius = np.sqrt((x * (1 - 0.10 * y)) ** 2 + y * y + height * height)
    return _Space(x, y, z, radius, edge=1.5 * 2 / (size * length))


def _paint(tissue_CSHW: Array, weight_SHW: Array, intensity_C: tuple[float, float, float]) -> None:
    for channel, intensity in enumerate(intensity_C):
        tissue_CSHW[channel] += weight_SHW * (np.float32(intensity) - tissue_CSHW[channel])


def _draw_shell(space: _Space, tissue_CSHW: Array) -> None:
    _paint(tissue_CSHW, space.inside(1.0 - space.radius), _FAT)
    _paint(tissue_CSHW, space.inside(0.975 - space.radius), _MUSCLE)
    _paint(tissue_CSHW, space.inside(0.965 - space.radius), _FAT)
    _paint(tissue_CSHW, space.inside(_SKULL - space.radius), _BONE)
    _paint(tissue_CSHW, space.inside(_BRAIN + 0.025 - space.radius), _CSF)


def _draw_brain(space: _Space, tissue_CSHW: Array, brain_SHW: Array, rng: np.random.Generator) -> Array:
    """Cortex with sulci, white matter, nuclei, ventricles; returns the ventricles' share of each voxel."""
    grid = (space.x.shape[0], space.x.shape[1], space.x.shape[2])
    depth = _BRAIN - space.radius
    # A sulcus runs along the zero line of a smooth field and reaches some way into the brain.
    fold = np.abs(smooth_noise(rng, (7, 15, 15), grid)) * 0.055
    reach = 0.16 + 0.05 * smooth_noise(rng, (4, 6, 6), grid)
    fold = fold + np.maximum(0, depth - reach)
    fissure = np.abs(space.x + 0.01 * smooth_noise(rng, (3, 6, 6), grid)) + np.maximum(0, 0.26 - np.abs(space.y))
    to_fluid = np.minimum(np.minimum(depth, fold), fissure)
    _paint(tissue_CSHW, brain_SHW, _GREY)
    _paint(tissue_CSHW, brain_SHW * space.inside(to_fluid - 0.05), _WHITE)
    _paint(tissue_CSHW, brain_SHW * space.inside(0.010 - to_fluid), _CSF)
    for side in (-1, 1):
        nucleus = space.ellipsoid((side * 0.24, 0.0, -0.05), (0.09, 0.17, 0.22))
        _paint(tissue_CSHW, brain_SHW * space.inside(nucleus), _NUCLEI)
    wide = rng.uniform(0.8, 1.35)
    ventricles = space.ellipsoid((0.0, 0.06, -0.22), (0.025 * wide, 0.10, 0.16))
    for side in (-1, 1):
        # Bent outwards to the front and the back: the butterfly of axial slices.
        bent = _Space(space.x - side * 0.35 * (space.y - 0.02) ** 2, space.y, space.z, space.radius, space.edge)
        ventricles = np.maximum(
            ventricles, bent.ellipsoid((side * 0.085, 0.0, 0.10), (0.055 * wide, 0.36, 0.27 * wide))
        )
    cap = rng.uniform(0.005, 0.02)
    _paint(tissue_CSHW, 0.8 * brain_SHW * space.inside(ventricles + cap), _GLIOSIS)
    share: Array = brain_SHW * space.inside(ventricles)
    _paint(tissue_CSHW, share, _CSF)
    return share


def _draw_base(space: _Space, tissue_CSHW: Array, rng: np.random.Generator) -> None:
    """Below the brain: eyes, air of the sinuses, and bright fat between them, as in the lowest real slices."""
    low = np.clip((-0.45 - space.z) / 0.1, 0, 1)
    face = low * space.inside(-0.38 - space.y + 0.1 * np.abs(space.x)) * space.inside(0.95 - space.radius)
    _paint(tissue_CSHW, face, _MUSCLE)
    fat = smooth_noise(rng, (6, 10, 10), (space.x.shape[0], space.x.shape[1], space.x.shape[2]))
    _paint(tissue_CSHW, face * space.inside(0.05 * (fat - 0.4)), _FAT)
    for side in (-1, 1):
        _paint(tissue_CSHW, low * space.inside(space.ellipsoid((side * 0.36, -0.68, -0.65), (0.16, 0.14, 0.3))), _CSF)
    _paint(tissue_CSHW, low * space.inside(space.ellipsoid((0.0, -0.72, -0.7), (0.10, 0.2, 0.4))), (0.02, 0.03, 0.02))


def _draw_lookalikes(space: _Space, tissue_CSHW: Array, brain_SHW: Array, rng: np.random.Generator) -> None:
    """Bright things that are no lesion: small spots of gliosis, an old bleeding, vessels."""
    for _ in range(rng.integers(2, 7)):
        axis = rng.uniform(0.015, 0.03)
        spot = space.ellipsoid(_somewhere(rng, 0.55), (axis, axis, max(axis, 0.04)))
        _paint(tissue_CSHW, 0.9 * brain_SHW * space.inside(spot), _GLIOSIS)
    if rng.random() < 0.4:
        # Bright before contrast too: only the channels together tell it from a lesion.
        bleeding = space.ellipsoid(_somewhere(rng, 0.5), (rng.uniform(0.05, 0.10), rng.uniform(0.05, 0.10), 0.12))
        _paint(tissue_CSHW, brain_SHW * space.inside(bleeding), _BLOOD)
    sinus = space.ellipsoid((0.0, 0.80, 0.1), (0.045, 0.035, 0.9))
    _paint(tissue_CSHW, space.inside(sinus), _VESSEL)
    for _ in range(rng.integers(4, 10)):
        vessel = space.ellipsoid(_somewhere(rng, 0.7), (0.012, rng.uniform(0.012, 0.05), 0.15))
        _paint(tissue_CSHW, brain_SHW * space.inside(vessel), _VESSEL)


def _somewhere(rng: np.random.Generator, reach: float) -> tuple[float, float, float]:
    angle, distance = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.uniform(0.05, 1))
    return float(distance * np.cos(angle)), float(distance * np.sin(angle)), float(rng.uniform(-0.35, 0.55))


def _draw_lesions(
    space: _Space, tissue_CSHW: Array, mask_SHW: Array, room_SHW: Array, rng: np.random.Generator
) -> None:
    """One lesion, sometimes with a satellite; the mask is where it makes up half of the voxel."""
    grid = (space.x.shape[0], space.x.shape[1], space.x.shape[2])
    rough = 0.7 * smooth_noise(rng, (4, 7, 7), grid) + 0.3 * smooth_noise(rng, (6, 18, 18), grid)
    size = rng.uniform(0.13, 0.34)
    centre = _lesion_centre(rng, space.z[:, 0, 0])
    axes = (size * rng.uniform(0.75, 1.2), size * rng.uniform(0.75, 1.2), max(0.2, size * rng.uniform(0.8, 1.2)))
    level = space.ellipsoid(centre, axes)
    if rng.random() < 0.25:
        near = (centre[0] * 0.6, centre[1] + rng.choice([-1, 1]) * 1.4 * axes[1], centre[2])
        level = np.maximum(level, space.ellipsoid(near, (0.4 * axes[0], 0.4 * axes[1], 0.6 * axes[2])))
    level = level + 0.14 * size * rough
    level = np.minimum(level, _LESION_REACH - np.abs(space.z))
    softness = rng.uniform(0.012, 0.035)
    share = room_SHW / (1 + np.exp(np.clip(-level / softness, -30, 30)))
    flair = rng.uniform(0.70, 0.92)
    lesion_C = (rng.uniform(0.30, 0.40), flair, rng.uniform(0.32, 0.44))
    _paint(tissue_CSHW, share * (0.9 + 0.1 * np.clip(rough, -2, 1)), lesion_C)
    core = level - rng.uniform(0.45, 0.65) * min(axes)
    if rng.random() < 0.35:  # a cyst: dark inside, still lesion
        _paint(tissue_CSHW, share * space.inside(core), (0.24, rng.uniform(0.3, 0.5), 0.26))
    if rng.random() < 0.3:  # an enhancing rim
        _paint(tissue_CSHW, share * space.inside(0.02 - np.abs(core)), (lesion_C[0], flair, 0.9))
    mask_SHW[:] = share >= 0.5


def _lesion_centre(rng: np.random.Generator, heights_S: Array) -> tuple[float, float, float]:
    """A place in the cerebrum, off the midline, on an inner slice."""
    inner_S = heights_S[1:-1]
    height = float(inner_S[np.argmin(np.abs(inner_S - rng.uniform(-0.15, 0.45)))])
    x = rng.choice([-1, 1]) * rng.uniform(0.25, 0.45)
    return float(x), float(rng.uniform(-0.45, 0.45)), height
