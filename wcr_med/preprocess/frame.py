"""The box of a file's grid that the network sees, and resampling into it and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The box of a file's grid that the network sees. Units are pixels; the box may reach beyond the image.

    Attributes:
        native_shape: rows and columns of the file's own grid.
        network_shape: rows and columns of the network's grid.
        top: first row of the box; `left` likewise.
        rows: extent of the box in rows; `columns` likewise.
    """

    native_shape: tuple[int, int]
    network_shape: tuple[int, int]
    top: float
    left: float
    rows: float
    columns: float

    def to_network(self, stack: Array) -> Array:
        """Resample (..., H, W) to (..., h, w), float32. Where the box leaves the image the result is zero."""
        down = _resampling(self.native_shape[0], self.network_shape[0], start=self.top, extent=self.rows)
        across = _resampling(self.native_shape[1], self.network_shape[1], start=self.left, extent=self.columns)
        return _apply(down, across, stack)

    def to_native(self, stack: Array) -> Array:
        """Resample (..., h, w) to (..., H, W), float32. Outside the box the result is zero."""
        scale_rows = self.network_shape[0] / self.rows
        scale_columns = self.network_shape[1] / self.columns
        down = _resampling(
            self.network_shape[0],
            self.native_shape[0],
            start=-self.top * scale_rows,
            extent=self.native_shape[0] * scale_rows,
        )
        across = _resampling(
            self.network_shape[1],
            self.native_shape[1],
            start=-self.left * scale_columns,
            extent=self.native_shape[1] * scale_columns,
        )
        return _apply(down, across, stack)


def _resampling(n_in: int, n_out: int, *, start: float, extent: float) -> Array:
    """Linear interpolation with a triangle filter as a matrix (n_out, n_in), float32.

    The filter widens when the grid gets coarser, so fine detail is averaged, not aliased. A row whose centre lies
    outside the input is zero; every other row sums to one.
    """
    step = extent / n_out
    centres = start + (np.arange(n_out) + 0.5) * step
    distance = np.abs(centres[:, None] - (np.arange(n_in) + 0.5)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, step))
    inside = (centres >= 0) & (centres <= n_in)
    weights[~inside] = 0.0
    total = weights.sum(axis=1, keepdims=True)
    normalised: Array = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return normalised.astype(np.float32)


def _apply(down: Array, across: Array, stack: Array) -> Array:
    """Down @ image @ across.T for every image of the stack, as two large products instead of two for each image."""
    leading, (n_rows, n_columns) = stack.shape[:-2], stack.shape[-2:]
    flat = stack.astype(np.float32).reshape(-1, n_columns)
    columns_first = np.swapaxes((flat @ across.T).reshape(-1, n_rows, across.shape[0]), 1, 2)
    resampled = (columns_first.reshape(-1, n_rows) @ down.T).reshape(-1, across.shape[0], down.shape[0])
    result = np.ascontiguousarray(np.swapaxes(resampled, 1, 2))
    return result.reshape(*leading, down.shape[0], across.shape[0])
