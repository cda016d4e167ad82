"""Random changes of a training slice. Albumentations draws the geometry, here and nowhere else: nobody maintains it.

A seed draws a `Change`; applying it is then deterministic. It is applied here, with OpenCV, or on the device a batch at
a time (`wcr_med.training.augment_on_device`). Geometry moves image and mask together; intensity and noise touch the
image, in spreads, the unit of normalised images.

Shape suffixes: h and w rows and columns of the network's grid, C channels, k control points.
"""

import os
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wcr_med.config import AugmentConfig
from wcr_med.data.dataset import Augmenter

Array = npt.NDArray[Any]

AIR_STRIDE = 4
"""Air is looked for at every fourth pixel, which tells it well enough."""

ELASTIC_SHIFT = 0.02
"""Standard deviation of a control point's shift, as a share of the slice."""

_ELASTIC_CELLS = 6  # control points along an axis
_NOISE_BANK = 4  # times the image's size


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one seed asks for, in the order in which it is applied.

    Attributes:
        control_kk2: float32, shifts of the control points of an elastic warp, in `ELASTIC_SHIFT` of the slice, columns
            first; `None` for no warp.
        flip: mirror left and right.
        matrix_33: float64, where a pixel (column, row, 1) goes; `None` for nowhere else.
        gain_C: float32, about the normalised image's zero.
        offset_C: float32.
        noise_start: where the noise begins in `noise_bank`.
        noise_sigma: its standard deviation; 0 for no noise.
    """

    control_kk2: Array | None
    flip: bool
    matrix_33: Array | None
    gain_C: Array
    offset_C: Array
    noise_start: int
    noise_sigma: float


def build_augmenter(config: AugmentConfig) -> Augmenter:
    """A function (image_hwC float32, mask_hw uint8, seed) -> (image, mask) of the same shapes and types.

    Equal arguments give equal answers; the arguments themselves are not changed. The identity when `config.enabled` is
    false. It can be pickled, for loader processes.
    """
    return Augmentation(config) if config.enabled else _identity


def _identity(image_hwC: Array, mask_hw: Array, seed: int) -> tuple[Array, Array]:
    del seed
    return image_hwC, mask_hw


class Augmentation:
    """Draws changes and applies them to one slice; `config.enabled` is not looked at."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        # The loader's processes are the parallelism; threads inside each of them only fight for the same cores.
        cv2.setNumThreads(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Augmentation, (self._config,)

    def __call__(self, image_hwC: Array, mask_hw: Array, seed: int) -> tuple[Array, Array]:
        """Draw the seed's change and apply it; see `build_augmenter`."""
        return self.apply(image_hwC, mask_hw, self.draw(image_hwC.shape, seed))

    def draw(self, shape_hwC: tuple[int, ...], seed: int) -> Change:
        """The change that a seed asks for, for slices of this shape."""
        config, rng = self._config, np.random.default_rng(seed)
        control_kk2 = None
        if rng.random() < config.elastic:
            control_kk2 = rng.standard_normal((_ELASTIC_CELLS, _ELASTIC_CELLS, 2), dtype=np.float32)
        flip, matrix_33 = False, None
        if self._flip is not None or self._affine is not None:
            flip, matrix_33 = self._draw_geometry(shape_hwC, int(rng.integers(2**32)))
        n_channels, reach = shape_hwC[2], config.intensity
        gain_C = rng.uniform(1 - min(reach, 1), 1 + reach, (n_channels,)).astype(np.float32)
        offset_C = rng.uniform(-reach, reach, (n_channels,)).astype(np.float32)
        start, sigma = 0, 0.0
        if config.noise > 0:
            start = int(rng.integers((_NOISE_BANK - 1) * int(np.prod(shape_hwC))))
            sigma = rng.uniform(0, config.noise)
        return Change(
            control_kk2=control_kk2,
            flip=flip,
            matrix_33=matrix_33,
            gain_C=gain_C,
            offset_C=offset_C,
            noise_start=start,
            noise_sigma=sigma,
        )

    def apply(self, image_hwC: Array, mask_hw: Array, change: Change) -> tuple[Array, Array]:
        """Image and mask, changed; new arrays but for a mask that nothing moves."""
        image_hwC = np.ascontiguousarray(image_hwC)
        # Air is the lowest value and, after normalisation, not zero: shift it to zero, which moves in from outside.
        air_C = image_hwC[::AIR_STRIDE].min(axis=0)[::AIR_STRIDE].min(axis=0)
        image_hwC = _per_channel(np.subtract, image_hwC, air_C, np.empty_like(image_hwC))
        if change.control_kk2 is not None:
            image_hwC, mask_hw = _warp(image_hwC, mask_hw, _sources(change.control_kk2, mask_hw.shape))
        if change.flip:
            image_hwC, mask_hw = _mirror(image_hwC), _mirror(mask_hw)
        if change.matrix_33 is not None:
            image_hwC = _move(image_hwC, change.matrix_33, cv2.INTER_LINEAR)
            mask_hw = _move(mask_hw, change.matrix_33, cv2.INTER_NEAREST)
        # Gain acts about the image's centre, which is zero: gain * (x + air) + offset.
        _per_channel(np.multiply, image_hwC, change.gain_C, image_hwC)
        _per_channel(np.add, image_hwC, change.gain_C * air_C + change.offset_C, image_hwC)
        if change.noise_sigma > 0:
            noise = noise_bank(image_hwC.size)[change.noise_start : change.noise_start + image_hwC.size]
            image_hwC += np.float32(change.noise_sigma) * noise.reshape(image_hwC.shape)
        return image_hwC, mask_hw

    def _draw_geometry(self, shape_hwC: tuple[int, ...], seed: int) -> tuple[bool, Array | None]:
        flip, matrix_33 = False, None
        if self._flip is not None:
            self._flip.set_random_seed(seed)
            flip = bool(self._flip.should_apply())
        if self._affine is not None:
            self._affine.set_random_seed(seed)
            matrix_33 = self._affine.get_params_dependent_on_data({"shape": shape_hwC}, {})["matrix"]
        return flip, matrix_33

    @cached_property
    def _flip(self) -> Any:
        """In albumentations; `None` when it is off."""
        return _albumentations().HorizontalFlip(p=0.5) if self._config.flip else None

    @cached_property
    def _affine(self) -> Any:
        """One affine map, in albumentations; `None` when it is off."""
        config = self._config
        if not (config.rotate_degrees or config.scale or config.shift):
            return None
        return _albumentations().Affine(
            rotate=(-config.rotate_degrees, config.rotate_degrees),
            scale=(1 - config.scale, 1 + config.scale),
            keep_ratio=True,
            translate_percent=(-config.shift, config.shift),
            p=1.0,
        )


@cache
def noise_bank(n_values: int) -> Array:
    """Gaussian numbers to take a stretch of `n_values` from: drawing fresh ones would cost more than all the rest.

    Returns:
        float32, four times as many as are taken; do not change them.
    """
    return np.random.default_rng(0).standard_normal(_NOISE_BANK * n_values, dtype=np.float32)


def _albumentations() -> Any:
    # On import it would ask the network for a newer version, which a hospital's machine must not do.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _per_channel(operation: np.ufunc, image_hwC: Array, values_C: Array, out_hwC: Array) -> Array:
    """`operation(image_hwC, values_C)`, in long rows: broadcasting along an axis of three is several times slower."""
    rows, columns, n_channels = image_hwC.shape
    long = (rows, columns * n_channels)
    operation(image_hwC.reshape(long), np.tile(values_C, columns), out=out_hwC.reshape(long))
    return out_hwC


def _mirror(array: Array) -> Array:
    """Left and right exchanged; OpenCV drops an axis of one channel."""
    return np.asarray(cv2.flip(array, 1)).reshape(array.shape)


def _move(array: Array, matrix_33: Array, interpolation: int) -> Array:
    """Each pixel where the matrix sends it; zero comes in from outside."""
    rows, columns = array.shape[:2]
    if array.ndim == 3 and array.shape[2] > 4:
        # OpenCV interpolates 2 and more than 4 channels more coarsely than 1, 3 and 4.
        n_fours, rest = divmod(array.shape[2], 4)
        ends = np.cumsum([4] * n_fours + ([1, 1] if rest == 2 else [rest]))
        pieces = [_move(piece, matrix_33, interpolation) for piece in np.split(array, ends, axis=2) if piece.size]
        return np.concatenate(pieces, axis=2)
    moved = cv2.warpAffine(array, matrix_33[:2], (columns, rows), flags=interpolation)
    return np.asarray(moved).reshape(array.shape)


def _sources(control_kk2: Array, shape: tuple[int, ...]) -> Array:
    """Where each pixel comes from, float32 (h, w, 2), columns first: shifts of a coarse grid, smoothly between.

    The usual elastic deformation filters noise at full size, 10 ms for a 256x256 slice; this takes a tenth.
    """
    rows, columns = shape
    shift_hw2 = cv2.resize(control_kk2, (columns, rows), interpolation=cv2.INTER_CUBIC)
    shift_hw2 *= np.array([columns, rows], dtype=np.float32) * np.float32(ELASTIC_SHIFT)
    shift_hw2[..., 0] += np.arange(columns, dtype=np.float32)
    shift_hw2[..., 1] += np.arange(rows, dtype=np.float32)[:, None]
    return np.asarray(shift_hw2)


def _warp(image_hwC: Array, mask_hw: Array, source_hw2: Array) -> tuple[Array, Array]:
    image = cv2.remap(image_hwC, source_hw2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    mask = cv2.remap(mask_hw, source_hw2, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return image.reshape(image_hwC.shape), mask
