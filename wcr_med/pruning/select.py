"""From scores to exactly k removed weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Scope = Literal["global", "layer"]
_Flat = npt.NDArray[np.floating]


def n_to_prune(sparsity: float, n: int) -> int:
    """How many of `n` weights a sparsity removes: round(sparsity * n), halves to the even number."""
    return round(sparsity * n)


def n_protected(size: int, floor: float) -> int:
    """How many of a layer's `size` weights always stay: max(1, ceil(floor * size)); 0 for a floor or size of 0."""
    # Rounded first: 0.07 * 100 is a little more than 7 in binary, and its ceiling would be 8.
    return max(1, math.ceil(round(floor * size, 9))) if floor > 0 and size else 0


def exact_k(scores: Mapping[str, Tensor], k: int, scope: Scope, *, floor: float = 0.0) -> dict[str, Tensor]:
    """Choose exactly k weights to remove.

    Args:
        scores: by kernel name, in layer order; floating point, no NaN. The lowest are removed.
        k: how many, from 0 to the number of scores that the floor does not protect.
        scope: "global" ranks all layers together. "layer" ranks within each layer and gives each its share of k; where
            shares are no whole numbers, the layers with the largest remainders remove one more, ties in layer order, so
            that the total is k. What a layer cannot give because of the floor, the others give in proportion.
        floor: share of each layer, at least 0 and below 1, whose highest scores always stay; see `n_protected`.

    Returns:
        By name, bool tensors of the scores' shapes: true keeps the weight. Among equal scores the earlier layer, then
        the lower flat index, is removed first.

    Raises:
        ValueError: k is out of range, or a score is NaN (the message names the kernel).
    """
    flat = {name: tensor.detach().cpu().reshape(-1).numpy() for name, tensor in scores.items()}
    sizes = [layer.size for layer in flat.values()]
    removable = [size - n_protected(size, floor) for size in sizes]
    if not 0 <= k <= sum(removable):
        protected = f", of which a floor of {floor:g} protects {sum(sizes) - sum(removable)}" if floor else ""
        raise ValueError(f"k is {k}, but there are {sum(sizes)} weights{protected}")
    for name, layer in flat.items():
        if np.isnan(layer).any():
            raise ValueError(f"the scores of {name} hold NaN")
    if scope == "global":
        parts = _globally(list(flat.values()), removable, k)
    else:
        shares = _shares(k, sizes, removable)
        parts = [_lowest(layer, share) for layer, share in zip(flat.values(), shares, strict=True)]
    return {
        name: torch.from_numpy(~part).reshape(tensor.shape)
        for (name, tensor), part in zip(scores.items(), parts, strict=True)
    }


def _globally(layers: list[_Flat], removable: Sequence[int], k: int) -> list[npt.NDArray[np.bool_]]:
    """True for the k lowest scores of all layers together; of each only the `removable` lowest may go."""
    if not layers:
        return []
    may_go = np.concatenate([_lowest(layer, most) for layer, most in zip(layers, removable, strict=True)])
    removed = np.zeros(may_go.shape, bool)
    removed[may_go] = _lowest(np.concatenate(layers)[may_go], k)
    return np.split(removed, np.cumsum([layer.size for layer in layers])[:-1])


def _lowest(scores: _Flat, k: int) -> npt.NDArray[np.bool_]:
    """True for the k lowest scores; among equal ones the lowest index first. Linear time."""
    if k == 0:
        return np.zeros(scores.shape, bool)
    border = np.partition(scores, k - 1)[k - 1]
    lowest: npt.NDArray[np.bool_] = scores < border
    tied = np.flatnonzero(scores == border)
    lowest[tied[: k - np.count_nonzero(lowest)]] = True
    return lowest


def _shares(k: int, sizes: Sequence[int], most: Sequence[int]) -> list[int]:
    """Divide k in proportion to sizes: whole numbers that sum to k (largest remainders), none above its `most`."""
    shares = list(most)
    free = [layer for layer, size in enumerate(sizes) if size]
    while free:
        rest = k - sum(shares[layer] for layer in range(len(sizes)) if layer not in free)
        n = sum(sizes[layer] for layer in free)
        full = [layer for layer in free if rest * sizes[layer] > most[layer] * n]
        if not full:
            _divide(rest, n, sizes, free, shares)
            break
        free = [layer for layer in free if layer not in full]  # those stay at their most; the others give more
    return shares


def _divide(k: int, n: int, sizes: Sequence[int], layers: Sequence[int], shares: list[int]) -> None:
    for layer in layers:
        shares[layer] = k * sizes[layer] // n
    by_remainder = sorted(layers, key=lambda layer: (-(k * sizes[layer] % n), layer))
    for layer in by_remainder[: k - sum(shares[layer] for layer in layers)]:
        shares[layer] += 1
