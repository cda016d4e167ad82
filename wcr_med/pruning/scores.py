"""How much each prunable weight matters: the lowest scores are pruned first.

A score takes the kernels by name and returns one tensor a kernel, of the kernel's shape, on the CPU, never negative.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def global_magnitude(kernels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w|, to be ranked over all layers together.

    Args:
        kernels: by name, floating point, any shapes.

    Returns:
        Scores by name, in the kernels' dtype.
    """
    return {name: kernel.detach().abs().cpu() for name, kernel in kernels.items()}


def layer_magnitude(kernels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w|, to be ranked within each layer: every layer loses the same share. Otherwise as `global_magnitude`."""
    return global_magnitude(kernels)


def fisher(kernels: Mapping[str, Tensor], squared_gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """w^2 times the mean squared gradient: what removing one weight adds to the loss, to second order.

    With F_i = mean over slices of (d loss / d w_i)^2 in place of the Hessian's diagonal, setting w_i to zero raises the
    loss by about w_i^2 F_i / 2; the half does not change a ranking. Ranked over all layers together.

    LeCun, Denker, Solla: Optimal Brain Damage, NIPS 1989; Singh, Alistarh: WoodFisher, arXiv 2004.14340 (its diagonal).

    Args:
        kernels: by name, floating point, any shapes.
        squared_gradients: of `wcr_med.pruning.squared_gradients`: by the same names, of the same shapes.

    Returns:
        Scores by name, float64.
    """
    return {name: kernel.detach().cpu().double().square() * squared_gradients[name] for name, kernel in kernels.items()}


def lamp(kernels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layer-adaptive magnitude: w^2 as a share of the layer's squares that are not smaller; ranked over all layers.

    With the layer's weights sorted by magnitude, score(u) = w_u^2 / sum of w_v^2 over v >= u. Equal magnitudes are
    sorted by flat index, the lowest first. The largest weight of a layer scores 1, so no layer disappears before all
    others are down to one weight; zeros, and layers of zeros, score 0.

    Computed in double precision on each layer's weights divided by its largest magnitude: in single precision squares
    of small weights underflow, and 0 / 0 would decide what is pruned.

    Lee, Park, Mo, Ahn, Shin: arXiv 2010.07611.

    Returns:
        Scores by name, float64 in [0, 1].
    """
    return {name: _lamp_of_layer(kernel) for name, kernel in kernels.items()}


def _lamp_of_layer(kernel: Tensor) -> Tensor:
    # On the CPU a cumulative sum adds in order, which makes it monotone; a parallel scan is not.
    magnitude = kernel.detach().cpu().double().abs().flatten()
    largest = magnitude.max() if magnitude.numel() else magnitude.new_zeros(())
    if largest == 0:
        return torch.zeros(kernel.shape, dtype=torch.float64)
    ranked, order = torch.sort(magnitude / largest, stable=True)
    squares = ranked.square()
    not_smaller = squares.flip(0).cumsum(0).flip(0)  # its last and smallest entry is 1: no division by zero
    scores = torch.empty_like(squares)
    scores[order] = squares / not_smaller
    return scores.reshape(kernel.shape)
