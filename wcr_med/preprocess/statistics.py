"""What has to be known of a whole volume before any slice of it can be segmented.

Volumes are looked at in blocks of slices, several times: no copy of a whole one is made.

Shape suffixes: S slices, C channels, H and W rows and columns of the file's own grid.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.preprocess.frame import Frame
from wcr_med.preprocess.order import Percentiles
from wcr_med.preprocess.settings import PreprocessSettings

Array = npt.NDArray[Any]

# A standalone model file holds this module as a graph: what changes here changes there (wcr_med/export/standalone).
BRIGHT_PERCENTILE = 99  # of a channel's values above zero: its bright level
FOREGROUND_LEVEL = 0.1  # of a channel's bright level; air and its noise lie below
LEAST_CONTRAST = 1e-6  # of a channel's mean, and at least of 1: less is rounding
TRIM = 0.005  # share of the foreground that may lie outside the head box on each side: speckle, cables
MARGIN = 0.03  # of the head's extent, added on each side

_BLOCK_VALUES = 1 << 21  # of a block of slices; a single slice may hold more
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What normalises a volume, and where the network looks.

    Attributes:
        centre_C: float32, subtracted from each channel.
        spread_C: float32, positive, divides each channel.
        frame: the box of each slice that the network sees.
    """

    centre_C: Array
    spread_C: Array
    frame: Frame


def survey(image_SHWC: Array, settings: PreprocessSettings) -> Survey:
    """Measure a volume: mean and spread of each channel over the foreground, and the box of the head.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite; may be a memory map.
        settings: what the network was trained with.

    Raises:
        UserError: wrong number of axes, no slices, no numbers, or NaN or infinite values.
    """
    _check(image_SHWC)
    levels_C = _levels(image_SHWC)
    bounds_C, counts_HW = _bounds(image_SHWC, levels_C, settings)
    centre_C, spread_C = _moments(image_SHWC, levels_C, bounds_C)
    return Survey(centre_C=centre_C, spread_C=spread_C, frame=_frame(counts_HW, settings))


def foreground(image_SHWC: Array) -> Array:
    """Voxels brighter than a tenth of the bright level in at least half of the channels: no odd channel decides.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite.

    Returns:
        foreground_SHW, bool; nothing where no value is above zero.
    """
    levels_C = _levels(image_SHWC)
    foreground_SHW = np.empty(image_SHWC.shape[:3], dtype=np.bool_)
    for place, block_SHWC in _blocks(image_SHWC):
        foreground_SHW[place] = _above(block_SHWC, levels_C)
    return foreground_SHW


def _check(image_SHWC: Array) -> None:
    if image_SHWC.ndim != 4 or 0 in image_SHWC.shape:
        raise UserError(f"image of shape {image_SHWC.shape}: expected slices x rows x columns x channels, none zero")
    if image_SHWC.dtype.kind not in "biuf":
        raise UserError(f"image of {image_SHWC.dtype} values, expected real numbers; convert it")
    if image_SHWC.dtype.kind != "f":
        return
    for _, block_SHWC in _blocks(image_SHWC):
        if not np.isfinite(block_SHWC).all():
            raise UserError("the image holds NaN or infinite values; replace them before use")
        if image_SHWC.dtype.itemsize > 4 and np.abs(block_SHWC).max() > _LARGEST:
            raise UserError(f"the image holds values beyond {_LARGEST:.1e}, as good as infinite; rescale it before use")


def _blocks(image_SHWC: Array) -> Iterator[tuple[slice, Array]]:
    """All slices, a few at a time."""
    n_slices = max(1, _BLOCK_VALUES // max(1, int(np.prod(image_SHWC.shape[1:]))))
    for start in range(0, image_SHWC.shape[0], n_slices):
        place = slice(start, start + n_slices)
        yield place, image_SHWC[place]


def _levels(image_SHWC: Array) -> list[float | None]:
    """The level above which a voxel is foreground, by channel; `None`: nothing is above zero."""
    bright_C = [Percentiles(image_SHWC.dtype, [BRIGHT_PERCENTILE]) for _ in range(image_SHWC.shape[3])]
    while not all(found.done for found in bright_C):
        for _, block_SHWC in _blocks(image_SHWC):
            for channel, found in enumerate(bright_C):
                values = block_SHWC[..., channel]
                if not found.done:
                    found.add(values[values > 0])
        _end_pass(bright_C)
    levels_C: list[float | None] = []
    for found in bright_C:
        bright = found.values()
        levels_C.append(None if bright is None else FOREGROUND_LEVEL * bright[0])
    return levels_C


def _above(block_SHWC: Array, levels_C: list[float | None]) -> Array:
    votes_SHW = np.zeros(block_SHWC.shape[:3], dtype=np.uint16)
    for channel, level in enumerate(levels_C):
        if level is not None:
            votes_SHW += block_SHWC[..., channel] > level
    above_SHW: Array = 2 * votes_SHW >= max(len(levels_C), 1)
    return above_SHW


def _bounds(
    image_SHWC: Array, levels_C: list[float | None], settings: PreprocessSettings
) -> tuple[list[tuple[float, float]] | None, Array]:
    """Low and high percentile of the foreground by channel (`None`: no foreground), and its voxels over all slices."""
    percentages = (settings.low_percentile, settings.high_percentile)
    found_C = [Percentiles(image_SHWC.dtype, percentages) for _ in levels_C]
    counts_HW = np.zeros(image_SHWC.shape[1:3], dtype=np.int64)
    first = True
    while not all(found.done for found in found_C):
        for _, block_SHWC in _blocks(image_SHWC):
            above_SHW = _above(block_SHWC, levels_C)
            if first:
                counts_HW += above_SHW.sum(axis=0)
            for channel, found in enumerate(found_C):
                if not found.done:
                    found.add(block_SHWC[..., channel][above_SHW])
        _end_pass(found_C)
        first = False
    bounds = [found.values() for found in found_C]
    known = [(pair[0], pair[1]) for pair in bounds if pair is not None]
    return (known if len(known) == len(bounds) else None), counts_HW


def _moments(
    image_SHWC: Array, levels_C: list[float | None], bounds_C: list[tuple[float, float]] | None
) -> tuple[Array, Array]:
    """Mean and deviation of the foreground, clipped to the bounds; blocks are merged after Chan et al. (1979)."""
    n_channels = image_SHWC.shape[3]
    centre_C = np.zeros(n_channels, dtype=np.float32)
    spread_C = np.ones(n_channels, dtype=np.float32)
    if bounds_C is None:
        return centre_C, spread_C
    count = 0
    mean_C, squares_C = np.zeros(n_channels), np.zeros(n_channels)
    for _, block_SHWC in _blocks(image_SHWC):
        above_SHW = _above(block_SHWC, levels_C)
        added = int(above_SHW.sum())
        if not added:
            continue
        for channel, (low, high) in enumerate(bounds_C):
            clipped = np.clip(block_SHWC[..., channel][above_SHW].astype(np.float64), low, high)
            mean = clipped.mean()
            difference = mean - mean_C[channel]
            squares_C[channel] += np.square(clipped - mean).sum() + difference**2 * count * added / (count + added)
            mean_C[channel] += difference * added / (count + added)
        count += added
    deviation_C = np.sqrt(squares_C / count)
    centre_C[:] = mean_C
    varies_C = deviation_C > LEAST_CONTRAST * np.maximum(1.0, np.abs(mean_C))
    spread_C[varies_C] = deviation_C[varies_C]
    return centre_C, spread_C


def _end_pass(found_C: list[Percentiles]) -> None:
    for found in found_C:
        if not found.done:
            found.end_pass()


def _frame(counts_HW: Array, settings: PreprocessSettings) -> Frame:
    n_rows, n_columns = counts_HW.shape
    top, bottom, left, right = 0.0, float(n_rows), 0.0, float(n_columns)
    if settings.crop == "head" and counts_HW.any():
        top, bottom = _extent(counts_HW.sum(axis=1))
        left, right = _extent(counts_HW.sum(axis=0))
    # The box takes the shape of the network's grid, so that nothing is stretched.
    pixel = max((bottom - top) / settings.height, (right - left) / settings.width)
    rows, columns = pixel * settings.height, pixel * settings.width
    return Frame(
        native_shape=(n_rows, n_columns),
        network_shape=(settings.height, settings.width),
        top=(top + bottom - rows) / 2,
        left=(left + right - columns) / 2,
        rows=rows,
        columns=columns,
    )


def _extent(counts: Array) -> tuple[float, float]:
    cumulative = np.cumsum(counts) / counts.sum()
    first = float(np.searchsorted(cumulative, TRIM))
    last = float(np.searchsorted(cumulative, 1 - TRIM)) + 1
    margin = MARGIN * (last - first)
    return first - margin, last + margin
