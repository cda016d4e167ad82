"""From scores to exactly k removed weights."""

from collections.abc import Mapping
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


def exact_k(scores: Mapping[str, Tensor], k: int, scope: Scope) -> dict[str, Tensor]:
    """Choose exactly k weights to remove.

    Args:
        scores: by kernel name, in layer order; floating point, no NaN. The lowest are removed.
        k: how many, from 0 to the number of scores.
        scope: "global" ranks all layers together. "layer" ranks within each layer and gives each its share of k; where
            shares are no whole numbers, the layers with the largest remainders remove one more, ties in layer order, so
            that the total is k.

    Returns:
        By name, bool tensors of the scores' shapes: true keeps the weight. Among equal scores the earlier layer, then
        the lower flat index, is removed first.

    Raises:
        ValueError: k is out of range, or a score is NaN (the message names the kernel).
    """
    flat = {name: tensor.detach().cpu().reshape(-1).numpy() for name, tensor in scores.items()}
    sizes = [layer.size for layer in flat.values()]
    if not 0 <= k <= sum(sizes):
        raise ValueError(f"k is {k}, but there are {sum(sizes)} weights")
    for name, layer in flat.items():
        if np.isnan(layer).any():
            raise ValueError(f"the scores of {name} hold NaN")
    if scope == "global":
        removed = _lowest(np.concatenate(list(flat.values())), k) if flat else np.zeros(0, bool)
        parts = np.split(removed, np.cumsum(sizes)[:-1]) if flat else []
    else:
        parts = [_lowest(layer, share) for layer, share in zip(flat.values(), _shares(k, sizes), strict=True)]
    return {
        name: torch.from_numpy(~part).reshape(tensor.shape)
        for (name, tensor), part in zip(scores.items(), parts, strict=True)
    }


def _lowest(scores: _Flat, k: int) -> npt.NDArray[np.bool_]:
    """True for the k lowest scores; among equal ones the lowest index first. Linear time."""
    if k == 0:
        return np.zeros(scores.shape, bool)
    border = np.partition(scores, k - 1)[k - 1]
    lowest: npt.NDArray[np.bool_] = scores < border
    tied = np.flatnonzero(scores == border)
    lowest[tied[: k - np.count_nonzero(lowest)]] = True
    return lowest


def _shares(k: int, sizes: list[int]) -> list[int]:
    """Divide k in proportion to sizes: whole numbers that sum to k (largest remainders), none above its size."""
    n = sum(sizes)
    if n == 0:
        return [0] * len(sizes)
    shares = [k * size // n for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda layer: (-(k * sizes[layer] % n), layer))
    for layer in by_remainder[: k - sum(shares)]:
        shares[layer] += 1
    return shares
