"""Positions of non-zeros as bytes: gap8 and Rice codes. Pure functions of arrays.

A Rice code writes the distances between k positions less one, c_0 .. c_(k-1), with a number l of low bits:
    low   holds c_j mod 2^l: bit i of code j is bit j*l + i of the array, the least significant bit of a byte first;
    high  holds floor(c_j / 2^l) in unary: one set bit a code, and before it as many unset ones.
With h_j = (index of set bit j) - j, the unset bits before set bit j,
    position_j = h_j * 2^l + low_0 + ... + low_j + j
Unused bits of a last byte are unset. For the same l an Elias-Fano code, which splits the positions themselves, never
needs fewer bits, since sum(floor(x_i)) <= floor(sum(x_i)).

Rice and Plaunt, IEEE Trans. Commun. 19 (1971) 889; Elias, J. ACM 21 (1974) 246.
"""

import numpy as np

from wcr_med.export.storage.forms import Array

_LARGEST_GAP = 255


def non_zero_positions(values: Array) -> Array:
    """Ascending int64 positions in a flat array of what is not +0: by bits, so -0.0 and NaN count."""
    return np.flatnonzero(values.view(f"u{values.dtype.itemsize}"))


def stored_positions(values: Array) -> Array:
    """`non_zero_positions`, or position 0 where there is none, so that no form has to store nothing."""
    positions = non_zero_positions(values)
    return positions if positions.size else np.zeros(1, dtype=np.int64)


def encode_gap8(values: Array) -> tuple[Array, Array]:
    """Encode a flat tensor by its non-zeros.

    Args:
        values: float32, float16 or int8 (n,), n at least 1. "Non-zero" goes by bits: -0.0 and NaN are kept.

    Returns:
        gaps uint8 (k,) and kept (k,) of the type of values: `kept[j]` stands at position `sum(gaps[: j + 1]) - 1`.
        Where a distance exceeds 255, fillers of value 0 stand in between. k is at least 1: an all-zero tensor is one
        filler.

    Raises:
        ValueError: not a flat, non-empty array of one of these types.
    """
    _require_flat(values)
    positions = non_zero_positions(values)
    if positions.size == 0:
        return np.ones(1, dtype=np.uint8), np.zeros(1, dtype=values.dtype)
    distances = np.diff(positions, prepend=-1)
    fillers = (distances - 1) // _LARGEST_GAP  # before each non-zero
    ends = np.cumsum(fillers + 1) - 1  # where each non-zero comes to stand among the fillers
    gaps = np.full(ends[-1] + 1, _LARGEST_GAP, dtype=np.uint8)
    gaps[ends] = distances - fillers * _LARGEST_GAP
    kept = np.zeros(gaps.size, dtype=values.dtype)
    kept[ends] = values[positions]
    return gaps, kept


def decode_gap8(gaps: Array, kept: Array, n: int) -> Array:
    """The flat tensor (n,) that `encode_gap8` took; what the decoder in the graph computes."""
    return scatter(np.cumsum(gaps, dtype=np.int64) - 1, kept, n)


def encode_rice(positions: Array, n_low_bits: int | None = None) -> tuple[Array, Array, int]:
    """Rice code of the distances between ascending positions; the layout stands at the top of this module.

    Args:
        positions: int64 (k,), strictly ascending, at least 0, k at least 1.
        n_low_bits: l; default: the one that needs the fewest bits.

    Returns:
        low uint8 (ceil(k l / 8),), high uint8 (ceil(bits / 8),), l.
    """
    codes = _distances(positions)
    bits = n_low_bits if n_low_bits is not None else _best_low_bits(codes)
    return _pack(_low_bits(codes, bits)), _pack(_unary(np.cumsum(codes >> bits))), bits


def decode_rice(low: Array, high: Array, n_low_bits: int, k: int) -> Array:
    """The int64 positions (k,) that `encode_rice` took."""
    low_k, unset_k = _read(low, high, n_low_bits, k)
    positions: Array = (unset_k << n_low_bits) + np.cumsum(low_k) + np.arange(k)
    return positions


def code_bits(low: Array, high: Array, n_low_bits: int, k: int) -> tuple[Array, Array]:
    """Both arrays of a code bit by bit, uint8 of 0 and 1, without the unused bits of their last bytes."""
    low_bits = np.unpackbits(low, count=k * n_low_bits, bitorder="little")
    high_bits = np.unpackbits(high, bitorder="little")
    return low_bits, high_bits[: np.flatnonzero(high_bits)[-1] + 1]


def scatter(positions: Array, kept: Array, n: int) -> Array:
    """A flat tensor (n,) with `kept` at `positions` and zeros elsewhere."""
    values = np.zeros(n, dtype=kept.dtype)
    values[positions] = kept
    return values


def _require_flat(values: Array) -> None:
    if values.ndim != 1 or values.dtype not in (np.float32, np.float16, np.int8) or values.size == 0:
        raise ValueError(
            f"expected a flat, non-empty float32, float16 or int8 array, not {values.dtype} of shape {values.shape}"
        )


def _distances(positions: Array) -> Array:
    """Less one, so that neighbours are at 0; the first is counted from before the tensor."""
    return np.diff(np.asarray(positions, dtype=np.int64), prepend=-1) - 1


def _best_low_bits(codes: Array) -> int:
    """The l with the fewest bits in all: k l low ones, k set ones, and the unset ones, sum(codes >> l)."""
    largest = int(codes.max()).bit_length()
    return min(range(largest + 1), key=lambda bits: codes.size * bits + int((codes >> bits).sum()))


def _low_bits(codes: Array, n_low_bits: int) -> Array:
    return ((np.asarray(codes)[:, None] >> np.arange(n_low_bits)) & 1).astype(np.uint8).reshape(-1)


def _unary(unset: Array) -> Array:
    """`unset[j]` (ascending) unset bits before set bit j."""
    bits = np.zeros(int(unset[-1]) + unset.size, dtype=np.uint8)
    bits[unset + np.arange(unset.size)] = 1
    return bits


def _pack(bits: Array) -> Array:
    return np.packbits(bits, bitorder="little")


def _read(low: Array, high: Array, n_low_bits: int, k: int) -> tuple[Array, Array]:
    """Low parts (k,) and numbers of unset bits before each set one (k,)."""
    low_bits, high_bits = code_bits(low, high, n_low_bits, k)
    low_kl = low_bits.reshape(k, n_low_bits).astype(np.int64)
    return (low_kl << np.arange(n_low_bits)).sum(axis=1), np.flatnonzero(high_bits) - np.arange(k)
