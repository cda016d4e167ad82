"""The statistics of `wcr_med.preprocess` as a graph, for 8-bit images: exact, from histograms of 256 bins.

Each function mirrors the one of that module that it names, step by step, in float64 and int64 as numpy computes.

Shape suffixes: S slices, C channels, H and W rows and columns of the file's own grid, V the 256 values.
"""

from dataclasses import dataclass

import numpy as np

from wcr_med.export.standalone.writing import GraphWriter, Results, State, Tensor
from wcr_med.preprocess import BRIGHT_PERCENTILE, FOREGROUND_LEVEL, LEAST_CONTRAST, PreprocessSettings

_N_VALUES = 256
_NEVER = _N_VALUES - 1  # no 8-bit value is above


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the network and its frame need to know of a volume.

    Attributes:
        centre_C: float32, as `wcr_med.preprocess.Prepared`.
        spread_C: float32, as there.
        rows_H: int64, foreground voxels of each row, over all slices.
        columns_W: int64, of each column.
    """

    centre_C: Tensor
    spread_C: Tensor
    rows_H: Tensor
    columns_W: Tensor


def measure(writer: GraphWriter, image_SHWC: Tensor, settings: PreprocessSettings, n_channels: int) -> Statistics:
    """Both passes over the volume, a slice at a time: all voxels, then those of the foreground.

    Args:
        writer: of the graph.
        image_SHWC: uint8.
        settings: whose percentiles count.
        n_channels: C.
    """
    counts_CV = _histogram_of_all(writer, image_SHWC, n_channels)
    level_C = _foreground_level(writer, counts_CV)
    counts_CV, rows_H, columns_W = _foreground_counts(writer, image_SHWC, level_C, n_channels)
    centre_C, spread_C = _centre_and_spread(writer, counts_CV, settings)
    return Statistics(centre_C=centre_C, spread_C=spread_C, rows_H=rows_H, columns_W=columns_W)


def percentile(counts_CV: Tensor, percent: float) -> Tensor:
    """`np.percentile(values, percent)` of integers from 0 to 255, linear interpolation, for each channel.

    Args:
        counts_CV: int64, how often each value occurs. A channel without any has no percentile: 0.
        percent: in [0, 100].

    Returns:
        float64 (C,).
    """
    last_C = counts_CV.sum(1) - 1
    cumulative_CV = counts_CV.cumsum(1)

    def ordered(rank_C: Tensor) -> Tensor:
        """The value at a place of the sorted values."""
        return (cumulative_CV <= rank_C.unsqueeze(1)).to(np.int64).sum(1).to(np.float64)

    place_C = last_C.to(np.float64) * float(np.true_divide(percent, 100))
    before_C = place_C.floor()
    share_C = place_C - before_C
    rank_C = before_C.to(np.int64)
    low_C, high_C = ordered(rank_C), ordered((rank_C + 1).minimum(last_C))
    step_C = high_C - low_C
    # numpy interpolates from the nearer end
    return (share_C < 0.5).where(low_C + step_C * share_C, high_C - step_C * (1.0 - share_C))


def _histogram_of_all(writer: GraphWriter, image_SHWC: Tensor, n_channels: int) -> Tensor:
    def body(inner: GraphWriter, slice_HWC: Tensor, states: list[Tensor]) -> tuple[list[Tensor], Results]:
        keys = _keys(inner, slice_HWC, n_channels)
        ones = inner.apply("Expand", inner.constant(np.ones(1, dtype=np.int32)), keys.shapes())
        return [states[0] + _histogram(inner, keys, ones, n_channels)], []

    start = [_no_counts(writer, n_channels)]
    return writer.loop(image_SHWC, start, body)[0]


def _foreground_level(writer: GraphWriter, counts_CV: Tensor) -> Tensor:
    """`preprocess.foreground`: the largest value of each channel that is not foreground, int32."""
    bright_V = np.ones(_N_VALUES, dtype=np.int64)
    bright_V[0] = 0
    nonzero_CV = counts_CV * writer.constant(bright_V)
    # An integer is above the level if it is above the level rounded down.
    level_C = (percentile(nonzero_CV, BRIGHT_PERCENTILE) * FOREGROUND_LEVEL).to(np.int32)
    return (nonzero_CV.sum(1) > 0).where(level_C, _NEVER)


def _foreground_counts(
    writer: GraphWriter, image_SHWC: Tensor, level_C: Tensor, n_channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the foreground: the histogram of each channel, voxels in each row and in each column; all int64."""

    def body(inner: GraphWriter, slice_HWC: Tensor, states: list[Tensor]) -> tuple[list[Tensor], Results]:
        # No product after the sum of integers: OpenVINO 2026.4 fuses the two, and is wrong for some sizes.
        votes_HW = (slice_HWC.to(np.int32) > level_C).to(np.int32).sum(2)
        inside_HW = (votes_HW >= (n_channels + 1) // 2).to(np.int32)
        keys = _keys(inner, slice_HWC, n_channels)
        inside = inner.apply("Expand", inside_HW.unsqueeze(2), slice_HWC.shapes()).reshape(-1)
        counts_CV, rows_H, columns_W = states
        wide_HW = inside_HW.to(np.int64)
        return [
            counts_CV + _histogram(inner, keys, inside, n_channels),
            rows_H + wide_HW.sum(1),
            columns_W + wide_HW.sum(0),
        ], []

    zeros_H, zeros_W = (writer.zeros(image_SHWC.shape(axis).reshape(1), np.int64) for axis in (1, 2))
    start: list[State] = [_no_counts(writer, n_channels), (zeros_H, ["rows"]), (zeros_W, ["columns"])]
    counts_CV, rows_H, columns_W = writer.loop(image_SHWC, start, body)
    return counts_CV, rows_H, columns_W


def _centre_and_spread(writer: GraphWriter, counts_CV: Tensor, settings: PreprocessSettings) -> tuple[Tensor, Tensor]:
    """`preprocess._statistics`; without foreground 0 and 1."""
    values_V = writer.constant(np.arange(_N_VALUES, dtype=np.float64))
    low_C, high_C = (percentile(counts_CV, percent) for percent in (settings.low_percentile, settings.high_percentile))
    clipped_CV = values_V.maximum(low_C.unsqueeze(1)).minimum(high_C.unsqueeze(1))
    weights_CV = counts_CV.to(np.float64)
    n_C = weights_CV.sum(1).maximum(1.0)
    centre_C = (weights_CV * clipped_CV).sum(1) / n_C
    offset_CV = clipped_CV - centre_C.unsqueeze(1)
    deviation_C = ((weights_CV * (offset_CV * offset_CV)).sum(1) / n_C).sqrt()
    has_contrast_C = deviation_C > centre_C.abs().maximum(1.0) * LEAST_CONTRAST
    return centre_C.to(np.float32), has_contrast_C.where(deviation_C, 1.0).to(np.float32)


def _keys(writer: GraphWriter, slice_HWC: Tensor, n_channels: int) -> Tensor:
    """The bin of every value of a slice, one histogram a channel after another; int32, flat."""
    first_C = writer.constant(_N_VALUES * np.arange(n_channels, dtype=np.int32))
    return (slice_HWC.to(np.int32) + first_C).reshape(-1)


def _histogram(writer: GraphWriter, keys: Tensor, weights: Tensor, n_channels: int) -> Tensor:
    empty = writer.zeros(writer.sizes(n_channels * _N_VALUES), np.int32)
    counts = writer.apply("ScatterElements", empty, keys, weights, reduction="add")
    return counts.to(np.int64).reshape(n_channels, _N_VALUES)


def _no_counts(writer: GraphWriter, n_channels: int) -> State:
    return writer.zeros(writer.sizes(n_channels, _N_VALUES), np.int64), [n_channels, _N_VALUES]
