"""A volume to the network's input and the network's answer back, a batch of slices at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.preprocess.frame import Frame
from wcr_med.preprocess.settings import PreprocessSettings
from wcr_med.preprocess.statistics import Survey, survey

Array = npt.NDArray[Any]
Forward = Callable[[Array, Array, Array], Array]
"""(image_Schw float32 raw intensities, centre_C, spread_C) -> probability_Shw float32 in [0, 1]."""

INTENSITY_LIMIT = 5.0
"""Normalised intensities are clipped to this on both sides, so that one bright vessel cannot dominate."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A volume on the network's grid, with what normalises it and what leads back.

    Attributes:
        image_SChw: float32, raw intensities, resampled.
        centre_C: float32, subtracted from each channel.
        spread_C: float32, positive, divides each channel.
        frame: leads back to the file's own grid.
    """

    image_SChw: Array
    centre_C: Array
    spread_C: Array
    frame: Frame


def prepare(image_SHWC: Array, settings: PreprocessSettings) -> Prepared:
    """Turn a whole volume into network input. Normalise it with `normalise`, or let an exported graph do it.

    Statistics are taken over the foreground of the whole volume, each channel by itself. A channel that is constant
    there (a missing sequence) gets spread 1 and so becomes 0, the same as an average voxel. A volume without any
    foreground gets centre 0 and spread 1.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite; a missing sequence is a constant.
        settings: what the network was trained with.

    Raises:
        UserError: wrong number of axes, no slices, no numbers, or NaN or infinite values.
    """
    known = survey(image_SHWC, settings)
    image_SChw = known.frame.to_network(np.moveaxis(image_SHWC, -1, 1))
    return Prepared(image_SChw=image_SChw, centre_C=known.centre_C, spread_C=known.spread_C, frame=known.frame)


def normalise(image_SChw: Array, centre_C: Array, spread_C: Array) -> Array:
    """Clip((image - centre) / spread) to [-5, 5], float32; the exported graph holds the same three operations."""
    scaled = (image_SChw - centre_C[:, None, None]) / spread_C[:, None, None]
    return np.clip(scaled, -INTENSITY_LIMIT, INTENSITY_LIMIT).astype(np.float32)


def prepare_mask(mask_SHW: Array, frame: Frame) -> Array:
    """Resample a 0/1 mask to the network's grid: uint8, 1 where at least half of the pixel is covered."""
    return (frame.to_network(mask_SHW) >= 0.5).astype(np.uint8)


def predict_batches(
    image_SHWC: Array, known: Survey, forward: Forward, *, batch_size: int = 16
) -> Iterator[tuple[slice, Array]]:
    """Foreground probability on the volume's own grid, a batch of slices at a time and in their order.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite; may be a memory map.
        known: of the whole volume.
        forward: the network, on raw intensities of the network's grid.
        batch_size: slices per call of `forward`, at least 1; bounds the memory.

    Yields:
        The place of the batch among the slices, and probability_SHW of it: float32 in [0, 1]; 0 outside the box that
        the network sees.

    Raises:
        UserError: the network's answer is not finite.
    """
    if batch_size < 1:
        raise UserError(f"batch size {batch_size}, expected at least 1")
    n_slices = image_SHWC.shape[0]
    for start in range(0, n_slices, batch_size):
        place = slice(start, min(start + batch_size, n_slices))
        image_SChw = known.frame.to_network(np.moveaxis(image_SHWC[place], -1, 1))
        probability_Shw = forward(image_SChw, known.centre_C, known.spread_C)
        if not np.isfinite(probability_Shw).all():
            raise UserError(
                "the network answered with NaN or infinite values; the model file is damaged: export it again"
            )
        probability_SHW = known.frame.to_native(probability_Shw)
        yield place, np.clip(probability_SHW, 0.0, 1.0, out=probability_SHW)


def predict_volume(image_SHWC: Array, settings: PreprocessSettings, forward: Forward, *, batch_size: int = 16) -> Array:
    """Foreground probability of every voxel, on the volume's own grid; see `predict_batches`.

    Returns:
        probability_SHW, float32 in [0, 1].

    Raises:
        UserError: the volume is not valid (see `survey`), or the network's answer is not finite.
    """
    known = survey(image_SHWC, settings)
    probability_SHW = np.empty(image_SHWC.shape[:3], dtype=np.float32)
    for place, batch_SHW in predict_batches(image_SHWC, known, forward, batch_size=batch_size):
        probability_SHW[place] = batch_SHW
    return probability_SHW


def binarise(probability: Array, threshold: float) -> Array:
    """The mask of a probability map: 1 where probability >= threshold, compared in float32; uint8, the same shape.

    Every choice and every use of a threshold goes through this comparison, so that they cannot disagree on a tie.
    """
    mask: Array = (probability >= np.float32(threshold)).astype(np.uint8)
    return mask
