"""Random changes of a training slice. Albumentations is used here and nowhere else, since nobody maintains it any more.

Every change is drawn from the seed of the call alone. Geometry moves image and mask together; intensity and noise touch
the image, in spreads, the unit of normalised images.

Shape suffixes: h and w rows and columns of the network's grid, C channels.
"""

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wcr_med.config import AugmentConfig
from wcr_med.data.dataset import Augmenter

Array = npt.NDArray[Any]

_ELASTIC_CELLS = 6  # control points along an axis
_ELASTIC_SHIFT = 0.02  # standard deviation of a control point's shift, share of the slice
_NOISE_BANK = 4  # times the image's size


def build_augmenter(config: AugmentConfig) -> Augmenter:
    """A function (image_hwC float32, mask_hw uint8, seed) -> (image, mask) of the same shapes and types.

    Equal arguments give equal answers; the arguments themselves are not changed. The identity when `config.enabled` is
    false. It can be pickled, for loader processes.
    """
    return _Augmenter(config) if config.enabled else _identity


def _identity(image_hwC: Array, mask_hw: Array, seed: int) -> tuple[Array, Array]:
    del seed
    return image_hwC, mask_hw


class _Augmenter:
    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        # The loader's processes are the parallelism; threads inside each of them only fight for the same cores.
        cv2.setNumThreads(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Augmenter, (self._config,)

    def __call__(self, image_hwC: Array, mask_hw: Array, seed: int) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        # Air is the lowest value and, after normalisation, not zero: shift it to zero, which moves in from outside.
        # Every fourth pixel tells it well enough.
        air_C = image_hwC[::4, ::4].min(axis=(0, 1))
        image_hwC = _per_channel(np.subtract, image_hwC, air_C)
        if rng.random() < self._config.elastic:
            image_hwC, mask_hw = _warp(image_hwC, mask_hw, _draw_warp(rng, mask_hw.shape))
        if self._geometry is not None:
            self._geometry.set_random_seed(int(rng.integers(2**32)))
            moved = self._geometry(image=image_hwC, mask=mask_hw)
            image_hwC, mask_hw = moved["image"], moved["mask"]
        return self._change_intensity(image_hwC, air_C, rng), mask_hw

    def _change_intensity(self, image_hwC: Array, air_C: Array, rng: np.random.Generator) -> Array:
        n_channels = image_hwC.shape[2]
        reach = self._config.intensity
        gain_C = rng.uniform(1 - min(reach, 1), 1 + reach, (n_channels,)).astype(np.float32)
        offset_C = rng.uniform(-reach, reach, (n_channels,)).astype(np.float32)
        # Gain acts about the image's centre, which is zero: gain * (x + air) + offset.
        changed = _per_channel(np.multiply, image_hwC, gain_C)
        changed = _per_channel(np.add, changed, gain_C * air_C + offset_C)
        if self._config.noise > 0:
            bank = self._noise(changed.size)
            start = int(rng.integers(len(bank) - changed.size))
            sigma = np.float32(rng.uniform(0, self._config.noise))
            changed += sigma * bank[start : start + changed.size].reshape(changed.shape)
        return changed

    def _noise(self, n_values: int) -> Array:
        """Gaussian numbers to take a stretch from: drawing fresh ones would cost more than all the rest."""
        if n_values not in self._banks:
            bank = np.random.default_rng(0).standard_normal(_NOISE_BANK * n_values, dtype=np.float32)
            self._banks[n_values] = bank
        return self._banks[n_values]

    @cached_property
    def _banks(self) -> dict[int, Array]:
        return {}

    @cached_property
    def _geometry(self) -> Any:
        """Flip and one affine map, in albumentations; `None` when both are off."""
        # On import it would ask the network for a newer version, which a hospital's machine must not do.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as album

        config = self._config
        steps: list[Any] = [album.HorizontalFlip(p=0.5)] if config.flip else []
        if config.rotate_degrees or config.scale or config.shift:
            affine = album.Affine(
                rotate=(-config.rotate_degrees, config.rotate_degrees),
                scale=(1 - config.scale, 1 + config.scale),
                keep_ratio=True,
                translate_percent=(-config.shift, config.shift),
                p=1.0,
            )
            steps.append(affine)
        return album.Compose(steps) if steps else None


def _per_channel(operation: Callable[[Array, Array], Array], image_hwC: Array, values_C: Array) -> Array:
    """`operation(image_hwC, values_C)`, in long rows: broadcasting along an axis of three is several times slower."""
    rows, columns, n_channels = image_hwC.shape
    result = operation(image_hwC.reshape(rows, columns * n_channels), np.tile(values_C, columns))
    return result.reshape(rows, columns, n_channels)


def _draw_warp(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Where each pixel comes from, float32 (h, w, 2), columns first: random shifts of a coarse grid, smoothly between.

    The usual elastic deformation filters noise at full size, 10 ms for a 256x256 slice; this takes a tenth.
    """
    rows, columns = shape
    coarse = rng.standard_normal((_ELASTIC_CELLS, _ELASTIC_CELLS, 2), dtype=np.float32)
    shift_hw2 = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    shift_hw2 *= np.array([columns, rows], dtype=np.float32) * np.float32(_ELASTIC_SHIFT)
    shift_hw2[..., 0] += np.arange(columns, dtype=np.float32)
    shift_hw2[..., 1] += np.arange(rows, dtype=np.float32)[:, None]
    return np.asarray(shift_hw2)


def _warp(image_hwC: Array, mask_hw: Array, source_hw2: Array) -> tuple[Array, Array]:
    image = cv2.remap(image_hwC, source_hw2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    mask = cv2.remap(mask_hw, source_hw2, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return image.reshape(image_hwC.shape), mask
