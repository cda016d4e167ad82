"""Raw volume -> network input, and the network's answer back: numpy only, the same code in training and on the edge.

Shape suffixes: S slices, C channels, H and W rows and columns of the file's own grid, h and w of the network's grid.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError

Array = npt.NDArray[Any]
Forward = Callable[[Array, Array, Array], Array]
"""(image_Schw float32 raw intensities, centre_C, spread_C) -> probability_Shw float32 in [0, 1]."""

_LARGEST_GRID = 8192  # rows or columns; a file that asks for more is damaged or hostile
INTENSITY_LIMIT = 5.0
"""Normalised intensities are clipped to this on both sides, so that one bright vessel cannot dominate."""

_FOREGROUND_LEVEL = 0.1  # of a channel's bright level; air and its noise lie below
_TRIM = 0.005  # share of the foreground that may lie outside the head box on each side: speckle, cables
_MARGIN = 0.03  # of the head's extent, added on each side


@dataclass(frozen=True, kw_only=True)
class PreprocessSettings:
    """What turns a volume into network input. Travels inside every model file.

    Attributes:
        height: rows of the network's grid, at least 1.
        width: columns of the network's grid, at least 1.
        crop: "head" zooms to the box that holds the head in all slices; "none" takes the whole slice.
        low_percentile: foreground intensities below this percentile count as this percentile in mean and spread.
        high_percentile: the same above.
    """

    height: int = 128
    width: int = 128
    crop: Literal["head", "none"] = "head"
    low_percentile: float = 1.0
    high_percentile: float = 99.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "PreprocessSettings":
        """Read what `to_dict` wrote.

        Raises:
            UserError: a field is missing, unknown or out of range.
        """
        known = {field.name for field in fields(cls)}
        if set(document) != known:
            wrong = ", ".join(sorted(set(document) ^ known))
            raise UserError(f"preprocessing settings: fields missing or unknown: {wrong}; export the model again")
        settings = cls(**document)
        sizes = (document["height"], document["width"])
        in_range = all(isinstance(size, int) and 1 <= size <= _LARGEST_GRID for size in sizes)
        known_crop = document["crop"] in ("head", "none")
        if not (in_range and known_crop and 0 <= settings.low_percentile < settings.high_percentile <= 100):
            raise UserError(
                f"preprocessing settings: a value is out of range: {dict(document)}; export the model again"
            )
        return settings


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
    """Resample a volume to the network's grid and measure its intensities.

    The statistics are those of the foreground of the whole volume, with both tails clipped; so neither air nor
    outliers move them. A channel without contrast (a missing sequence filled with a constant) becomes zero.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite. Zeros alone are valid and stay zero.
        settings: the grid, the crop and the percentiles.

    Raises:
        UserError: the array has another number of axes, no slices, or NaN or infinite values.
    """
    if image_SHWC.ndim != 4 or 0 in image_SHWC.shape:
        raise UserError(f"image of shape {image_SHWC.shape}: expected slices x rows x columns x channels, none zero")
    if image_SHWC.dtype.kind == "f" and not np.isfinite(image_SHWC).all():
        raise UserError("the image holds NaN or infinite values; replace them before use")
    foreground_SHW = foreground(image_SHWC)
    centre_C, spread_C = _statistics(image_SHWC, foreground_SHW, settings)
    frame = _frame(foreground_SHW, settings)
    image_SChw = frame.to_network(np.moveaxis(image_SHWC, -1, 1))
    return Prepared(image_SChw=image_SChw, centre_C=centre_C, spread_C=spread_C, frame=frame)


def normalise(image_SChw: Array, centre_C: Array, spread_C: Array) -> Array:
    """Clip((image - centre) / spread) to [-5, 5], float32; the exported graph holds the same three operations."""
    scaled = (image_SChw - centre_C[:, None, None]) / spread_C[:, None, None]
    return np.clip(scaled, -INTENSITY_LIMIT, INTENSITY_LIMIT).astype(np.float32)


def prepare_mask(mask_SHW: Array, frame: Frame) -> Array:
    """Resample a 0/1 mask to the network's grid: uint8, 1 where at least half of the pixel is covered."""
    return (frame.to_network(mask_SHW) >= 0.5).astype(np.uint8)


def predict_volume(image_SHWC: Array, settings: PreprocessSettings, forward: Forward, *, batch_size: int = 16) -> Array:
    """Foreground probability of every voxel, on the volume's own grid.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite.
        settings: what the network was trained with.
        forward: the network, on raw intensities of the network's grid.
        batch_size: slices per call of `forward`; bounds the memory.

    Returns:
        probability_SHW, float32 in [0, 1]; 0 outside the box that the network sees.

    Raises:
        UserError: the volume is not valid (see `prepare`), or the network's answer is not finite.
    """
    prepared = prepare(image_SHWC, settings)
    n_slices = image_SHWC.shape[0]
    probability_SHW = np.empty(image_SHWC.shape[:3], dtype=np.float32)
    for start in range(0, n_slices, batch_size):
        batch = slice(start, start + batch_size)
        probability_Shw = forward(prepared.image_SChw[batch], prepared.centre_C, prepared.spread_C)
        if not np.isfinite(probability_Shw).all():
            raise UserError(
                "the network answered with NaN or infinite values; the model file is damaged: export it again"
            )
        probability_SHW[batch] = prepared.frame.to_native(probability_Shw)
    return np.clip(probability_SHW, 0.0, 1.0, out=probability_SHW)


def binarise(probability: Array, threshold: float) -> Array:
    """The mask of a probability map: 1 where probability >= threshold, compared in float32; uint8, the same shape.

    Every choice and every use of a threshold goes through this comparison, so that they cannot disagree on a tie.
    """
    mask: Array = (probability >= np.float32(threshold)).astype(np.uint8)
    return mask


def foreground(image_SHWC: Array) -> Array:
    """Voxels brighter than a tenth of the bright level in at least half of the channels: no odd channel decides.

    Args:
        image_SHWC: (slices, rows, columns, channels), any real dtype, finite.

    Returns:
        foreground_SHW, bool; nothing where no value is above zero.
    """
    votes_SHW = np.zeros(image_SHWC.shape[:3], dtype=np.uint16)
    n_channels = image_SHWC.shape[3]
    for channel in range(n_channels):
        values = image_SHWC[..., channel]
        nonzero = values[values > 0]
        if nonzero.size:
            votes_SHW += values > _FOREGROUND_LEVEL * np.percentile(nonzero, 99)
    foreground_SHW: Array = 2 * votes_SHW >= max(n_channels, 1)
    return foreground_SHW


def _statistics(image_SHWC: Array, foreground_SHW: Array, settings: PreprocessSettings) -> tuple[Array, Array]:
    n_channels = image_SHWC.shape[3]
    centre_C = np.zeros(n_channels, dtype=np.float32)
    spread_C = np.ones(n_channels, dtype=np.float32)
    if not foreground_SHW.any():
        return centre_C, spread_C
    for channel in range(n_channels):
        values = image_SHWC[..., channel][foreground_SHW].astype(np.float64)
        low, high = np.percentile(values, (settings.low_percentile, settings.high_percentile))
        clipped = np.clip(values, low, high)
        centre_C[channel] = clipped.mean()
        deviation = clipped.std()
        if deviation > 1e-6 * max(1.0, abs(float(clipped.mean()))):
            spread_C[channel] = deviation
    return centre_C, spread_C


def _frame(foreground_SHW: Array, settings: PreprocessSettings) -> Frame:
    n_rows, n_columns = foreground_SHW.shape[1:]
    top, bottom, left, right = 0.0, float(n_rows), 0.0, float(n_columns)
    if settings.crop == "head" and foreground_SHW.any():
        counts_HW = foreground_SHW.sum(axis=0)
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
    first = float(np.searchsorted(cumulative, _TRIM))
    last = float(np.searchsorted(cumulative, 1 - _TRIM)) + 1
    margin = _MARGIN * (last - first)
    return first - margin, last + margin


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
