"""What a volume looks like, in a few numbers that do not depend on its size, its grid or the scale of its intensities.

At most `MOST_SLICES` slices are looked at, spread evenly, a few at a time.

Shape suffixes: S slices, C channels, H and W rows and columns of the file's grid, h and w of the network's.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.preprocess import Survey
from wcr_med.preprocess.statistics import BRIGHT_PERCENTILE, FOREGROUND_LEVEL

Array = npt.NDArray[Any]

MOST_SLICES = 48
"""Slices that are looked at."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the normalised foreground, that describe a channel."""

CHANNEL_FEATURES = (
    *(f"quantile {100 * share:g} %" for share in QUANTILES),
    "level of air",
    "smoothness",
    "dark inside",
)
"""What describes a channel, in order: quantiles of the normalised foreground; zero, normalised; correlation of
neighbouring pixels; share of the head in which the channel is as dark as air."""

_BLOCK = 4  # slices at a time
_LEAST_PIXELS = 50  # of foreground, for numbers to mean anything
_LEAST_VOXELS = 4096  # below, a few voxels are a large share
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a volume looks like.

    Attributes:
        below_zero_C: share of voxels below zero, by channel.
        at_top_C: share of voxels at the channel's largest value; 0 for a constant one and in tiny images.
        constant_C: bool, whether the channel holds one value alone.
        foreground: share of voxels that are foreground on the network's grid.
        edge: share of foreground among the voxels at the edges of the slices, on the file's grid.
        channels_CF: a row of `CHANNEL_FEATURES` for each channel; NaN for a constant one.
        pairs_P: correlation within the foreground of each pair of channels, pairs as `itertools.combinations` gives
            them; 1 for copies, NaN where one of the two is constant.
    """

    below_zero_C: Array
    at_top_C: Array
    constant_C: Array
    foreground: float
    edge: float
    channels_CF: Array
    pairs_P: Array


def look(image_SHWC: Array, known: Survey) -> Look:
    """Look at a volume.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite; may be a memory map.
        known: what `wcr_med.preprocess.survey` found in it.
    """
    n_slices, _, _, n_channels = image_SHWC.shape
    places = np.unique(np.linspace(0, n_slices - 1, min(n_slices, MOST_SLICES)).round().astype(int))
    raw = VoxelCounts(n_channels)
    prepared, edges = [], []
    for start in range(0, len(places), _BLOCK):
        block_SHWC = image_SHWC[places[start : start + _BLOCK]]
        raw.add(block_SHWC)
        edges.append(_edge_pixels(block_SHWC))
        prepared.append(known.frame.to_network(np.moveaxis(block_SHWC, -1, 1)))
    image_SChw = np.concatenate(prepared)
    levels_C = np.array([_level(image_SChw[:, channel]) for channel in range(n_channels)])
    inside_Shw = 2 * (image_SChw > levels_C[:, None, None]).sum(axis=1) >= n_channels
    spread_C = np.where(known.spread_C > 0, known.spread_C, 1.0)
    scaled_SChw = (image_SChw - known.centre_C[:, None, None]) / spread_C[:, None, None]
    constant_C: Array = raw.least == raw.top
    features_CF = np.full((n_channels, len(CHANNEL_FEATURES)), np.nan)
    if inside_Shw.sum() >= _LEAST_PIXELS:
        for channel in np.flatnonzero(~constant_C):
            dark = float((image_SChw[:, channel][inside_Shw] <= levels_C[channel]).mean())
            features_CF[channel] = [
                *np.quantile(scaled_SChw[:, channel][inside_Shw], QUANTILES),
                -known.centre_C[channel] / spread_C[channel],
                _smoothness(scaled_SChw[:, channel], inside_Shw),
                dark,
            ]
    return Look(
        below_zero_C=raw.below_zero / raw.n,
        at_top_C=raw.shares_at_top(),
        constant_C=constant_C,
        foreground=float(inside_Shw.mean()),
        edge=float((2 * (np.concatenate(edges) > levels_C).sum(axis=1) >= n_channels).mean()),
        channels_CF=features_CF,
        pairs_P=np.array(
            [
                _correlation(scaled_SChw[:, a][inside_Shw], scaled_SChw[:, b][inside_Shw])
                for a, b in combinations(range(n_channels), 2)
            ]
        ),
    )


class VoxelCounts:
    """Counts over the file's own voxels, block by block.

    Attributes:
        n: voxels of a channel.
        below_zero: how many are below zero, by channel.
        at_top: how many have the largest value, by channel.
        least: smallest value, by channel.
        top: largest value, by channel.
    """

    def __init__(self, n_channels: int) -> None:
        self.n = 0
        self.below_zero, self.at_top = np.zeros(n_channels), np.zeros(n_channels)
        self.least, self.top = np.full(n_channels, np.inf), np.full(n_channels, -np.inf)

    def add(self, block_SHWC: Array) -> None:
        """Take in more slices: (slices, rows, columns, channels)."""
        flat_NC = block_SHWC.reshape(-1, block_SHWC.shape[-1])
        self.n += len(flat_NC)
        self.below_zero += (flat_NC < 0).sum(axis=0)
        top_C = flat_NC.max(axis=0)
        self.at_top = np.where(top_C > self.top, 0, self.at_top)
        self.at_top += np.where(top_C >= self.top, (flat_NC == top_C).sum(axis=0), 0)
        self.top = np.maximum(self.top, top_C)
        self.least = np.minimum(self.least, flat_NC.min(axis=0))

    def shares_at_top(self) -> Array:
        """Share of voxels at the largest value, by channel; 0 for a constant one, and where there are few voxels."""
        return np.where((self.top == self.least) | (self.n < _LEAST_VOXELS), 0.0, self.at_top / max(self.n, 1))


def _level(values_Shw: Array) -> float:
    """Above it a pixel of a channel is foreground; infinite where nothing is above zero."""
    bright = values_Shw[values_Shw > 0]
    return FOREGROUND_LEVEL * float(np.percentile(bright, BRIGHT_PERCENTILE)) if bright.size else np.inf


def _smoothness(scaled_Shw: Array, inside_Shw: Array) -> float:
    """Correlation of pixels with their neighbours to the right and below, both within the foreground."""
    right, below = inside_Shw[:, :, 1:] & inside_Shw[:, :, :-1], inside_Shw[:, 1:] & inside_Shw[:, :-1]
    first = np.concatenate([scaled_Shw[:, :, :-1][right], scaled_Shw[:, :-1][below]])
    second = np.concatenate([scaled_Shw[:, :, 1:][right], scaled_Shw[:, 1:][below]])
    return _correlation(first, second)


def _correlation(first: Array, second: Array) -> float:
    if len(first) < _LEAST_PIXELS:
        return float("nan")
    a, b = first - first.mean(dtype=np.float64), second - second.mean(dtype=np.float64)
    size = float(np.sqrt(np.square(a).mean() * np.square(b).mean()))
    return float((a * b).mean() / size) if size > _TINY else float("nan")


def _edge_pixels(block_SHWC: Array) -> Array:
    """The pixels at the four edges of the slices, a row each."""
    sides = (block_SHWC[:, 0], block_SHWC[:, -1], block_SHWC[:, 1:-1, 0], block_SHWC[:, 1:-1, -1])
    return np.concatenate([side.reshape(-1, block_SHWC.shape[-1]) for side in sides])
