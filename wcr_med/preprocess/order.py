"""Exact percentiles of values that come in blocks, however many there are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DIGIT_BITS = 16


class Percentiles:
    """Percentiles with linear interpolation, as `numpy.percentile` defines them, in memory that does not grow.

    Numbers are mapped to unsigned integers of the same order. Each pass over the values counts one digit of 16 bits
    among those that share the digits found so far, so a pass settles 16 bits: one for integers of up to 16 bits, two
    for float32, four for float64. Every pass must bring the same values.

        while not found.done:
            for block in blocks:
                found.add(block)
            found.end_pass()

    Args:
        dtype: of the values: bool, integer or floating point.
        percentages: in [0, 100].
    """

    def __init__(self, dtype: npt.DTypeLike, percentages: Sequence[float]) -> None:
        self._dtype = _plain(np.dtype(dtype))
        self._percentages = tuple(percentages)
        bits = 8 * self._dtype.itemsize
        self._shifts = list(range(max(bits - _DIGIT_BITS, 0), -1, -_DIGIT_BITS))
        self._digit_bits = min(bits, _DIGIT_BITS)
        self._pass = 0
        self._prefixes: list[int] = [0]  # those of the ranks sought, without repetition
        self._histograms = self._empty()
        self._ranks: list[int] = []  # of each number sought, among all values; then among those of its prefix
        self._prefix_of: list[int] = []
        self.count = 0

    @property
    def done(self) -> bool:
        """All digits are known."""
        return self._pass == len(self._shifts)

    def add(self, values: Array) -> None:
        """Count a block of any shape, of the dtype given."""
        keys = _keys(values.astype(self._dtype, copy=False).ravel())
        shift = self._shifts[self._pass]
        n_bins = 1 << self._digit_bits
        for prefix, histogram in zip(self._prefixes, self._histograms, strict=True):
            chosen = keys if self._pass == 0 else keys[keys >> keys.dtype.type(shift + _DIGIT_BITS) == prefix]
            digits = (chosen >> keys.dtype.type(shift)) & keys.dtype.type(n_bins - 1)
            histogram += np.bincount(digits.astype(np.intp), minlength=n_bins)

    def end_pass(self) -> None:
        """Settle one digit of every number sought."""
        if self._pass == 0:
            self.count = int(self._histograms[0].sum())
            if not self.count:
                self._pass = len(self._shifts)
                return
            self._ranks = [rank for p in self._percentages for rank in self._neighbours(p)]
            self._prefix_of = [0] * len(self._ranks)
        sums = {
            prefix: np.cumsum(histogram) for prefix, histogram in zip(self._prefixes, self._histograms, strict=True)
        }
        for place, (prefix, rank) in enumerate(zip(self._prefix_of, self._ranks, strict=True)):
            digit = int(np.searchsorted(sums[prefix], rank, side="right"))
            self._ranks[place] = rank - (int(sums[prefix][digit - 1]) if digit else 0)
            self._prefix_of[place] = (prefix << self._digit_bits) | digit
        self._prefixes = sorted(set(self._prefix_of))
        self._histograms = self._empty()
        self._pass += 1

    def values(self) -> tuple[float, ...] | None:
        """The percentiles in the order asked for; `None` where there were no values at all."""
        if not self.done:
            raise ValueError("passes are missing; see `done`")
        if not self.count:
            return None
        numbers = _values(np.array(self._prefix_of, dtype=np.uint64), self._dtype).astype(np.float64)
        found = []
        for place, percentage in enumerate(self._percentages):
            low, high = (float(number) for number in numbers[2 * place : 2 * place + 2])
            weight = percentage / 100 * (self.count - 1) % 1
            found.append(low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight))
        return tuple(found)

    def _neighbours(self, percentage: float) -> tuple[int, int]:
        lower = math.floor(percentage / 100 * (self.count - 1))
        return lower, min(lower + 1, self.count - 1)

    def _empty(self) -> list[Array]:
        return [np.zeros(1 << self._digit_bits, dtype=np.int64) for _ in self._prefixes]


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What numbers are counted as: native, and no wider than 64 bits."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")


def _keys(values: Array) -> Array:
    """Unsigned integers of the values' width that sort as they do."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    keys: Array = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    if kind == "u":
        return keys
    sign = keys.dtype.type(1 << (bits - 1))
    ordered: Array = keys ^ sign if kind == "i" else np.where(keys & sign, ~keys, keys | sign)
    return ordered


def _values(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Undoes `_keys`."""
    narrow: Array = keys.astype(f"u{dtype.itemsize}")
    if dtype.kind == "u":
        return narrow
    sign = narrow.dtype.type(1 << (8 * dtype.itemsize - 1))
    bits: Array = narrow ^ sign if dtype.kind == "i" else np.where(narrow & sign, narrow ^ sign, ~narrow)
    return bits.view(dtype)
