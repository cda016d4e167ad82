"""The frame of `wcr_med.preprocess` as a graph: from the head's box to the matrices that resample there and back.

Shape suffixes: H and W rows and columns of the file's own grid, h and w of the network's grid.
"""

from dataclasses import dataclass

import numpy as np

from wcr_med.export.standalone.statistics import Statistics
from wcr_med.export.standalone.writing import GraphWriter, Tensor
from wcr_med.preprocess import MARGIN, TRIM, PreprocessSettings


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Float32 matrices: network = down_hH @ image_HW @ across_Ww, and native = back_down_Hh @ answer_hw @ back_wW."""

    down_hH: Tensor
    across_Ww: Tensor
    back_down_Hh: Tensor
    back_across_wW: Tensor


def resampling(writer: GraphWriter, found: Statistics, settings: PreprocessSettings) -> Resampling:
    """`preprocess._frame`, `Frame.to_network` and `Frame.to_native`."""
    n_rows, n_columns = found.rows_H.shape(0), found.columns_W.shape(0)
    top, bottom = _extent(writer, found.rows_H, n_rows, settings)
    left, right = _extent(writer, found.columns_W, n_columns, settings)
    pixel = ((bottom - top) / settings.height).maximum((right - left) / settings.width)
    down_hH, back_down_Hh = _both_ways(writer, n_rows, settings.height, top + bottom, pixel)
    across_wW, back_across_Ww = _both_ways(writer, n_columns, settings.width, left + right, pixel)
    return Resampling(
        down_hH=down_hH,
        across_Ww=across_wW.transpose(1, 0),
        back_down_Hh=back_down_Hh,
        back_across_wW=back_across_Ww.transpose(1, 0),
    )


def _extent(writer: GraphWriter, counts: Tensor, n: Tensor, settings: PreprocessSettings) -> tuple[Tensor, Tensor]:
    """Both ends of the box along an axis, float64: `preprocess._extent`, or the whole axis where there is no head."""
    start, end = writer.constant(np.array(0, dtype=np.float64)), n.to(np.float64)
    if settings.crop == "none":
        return start, end
    total = counts.sum(0)
    cumulative = counts.cumsum(0).to(np.float64) / total.maximum(1).to(np.float64)

    def searchsorted(share: float) -> Tensor:
        return (cumulative < share).to(np.int64).sum(0).to(np.float64)

    first, last = searchsorted(TRIM), searchsorted(1 - TRIM) + 1.0
    margin = (last - first) * MARGIN
    found = total > 0
    return found.where(first - margin, start), found.where(last + margin, end)


def _both_ways(
    writer: GraphWriter, n_native: Tensor, n_network: int, ends: Tensor, pixel: Tensor
) -> tuple[Tensor, Tensor]:
    """The matrices (network, native) and (native, network) of one axis; `ends` is the sum of both ends of the box."""
    extent = pixel * n_network
    start = (ends - extent) / 2
    scale = n_network / extent
    there = _resampling(writer, n_native, n_network, start=start, extent=extent)
    back = _resampling(writer, n_network, n_native, start=-start * scale, extent=n_native.to(np.float64) * scale)
    return there, back


def _resampling(
    writer: GraphWriter, n_in: Tensor | int, n_out: Tensor | int, *, start: Tensor, extent: Tensor
) -> Tensor:
    """`preprocess._resampling`: float32 (n_out, n_in)."""
    length = float(n_out) if isinstance(n_out, int) else n_out.to(np.float64)
    step = extent / length
    centres = start + (writer.arange(n_out) + 0.5) * step
    distance = (centres.unsqueeze(1) - (writer.arange(n_in) + 0.5).unsqueeze(0)).abs()
    weights = (1.0 - distance / step.maximum(1.0)).maximum(0.0)
    inside = (centres >= 0) & (centres <= (n_in if isinstance(n_in, int) else n_in.to(np.float64)))
    weights = weights * inside.to(np.float64).unsqueeze(1)
    total = weights.sum(1, keepdims=True)
    return (weights / (total > 0).where(total, 1.0)).to(np.float32)
