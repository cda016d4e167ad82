"""Terms that are added to the loss: WCR, l1, Hoyer and Hoyer-square, each in a reference form and a fast form.

The reference form is the formula, differentiated by autograd. The fast form adds the closed-form gradient to `.grad`
and never builds a graph.
"""

import torch
from torch import Tensor

from wcr_med.regularizers.base import LossTerm
from wcr_med.regularizers.registry import register_regularizer

EPSILON = 1e-8
"""Added to a layer's variance in WCR, so that a layer of equal magnitudes has a finite term."""

SMOOTHING = 1e-8
"""Under the root of WCR's magnitudes sqrt(w^2 + r), so that they have a gradient at zero."""


@register_regularizer
class WCR(LossTerm):
    """Weight Concentration Regularizer: the sum over layers of 1 / (Var(m) + eps), with m_i = sqrt(w_i^2 + r).

    Var is the population variance of the layer's magnitudes; eps = r = 1e-8. A descent step grows every weight whose
    magnitude is above its layer's mean and shrinks the others: the layer's energy gathers on few weights, and magnitude
    pruning then removes what no longer matters. The gradient for weight i of n is

        -(2 / n) (m_i - mean(m)) (w_i / m_i) / (Var(m) + eps)^2.

    A layer of one weight, or of equal magnitudes, has the term 1 / eps and the gradient zero.

    Yun, Jo, Lee: arXiv 2511.14282.
    """

    name = "wcr"
    label = "WCR"
    default_strength = 1e-5
    strength_range = (1e-7, 1e-4)

    def term(self, weights: Tensor) -> Tensor:
        """1 / (Var + eps) of one layer."""
        magnitude = torch.sqrt(weights.square() + SMOOTHING)
        # Two passes, around a first weight: equal magnitudes then deviate by exactly zero, not by a rounded mean.
        shifted = magnitude - _first(magnitude).detach()
        deviation = shifted - shifted.mean()
        return 1 / (deviation.square().mean() + EPSILON)

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        magnitude = torch._foreach_mul(weights, weights)
        torch._foreach_add_(magnitude, SMOOTHING)
        torch._foreach_sqrt_(magnitude)
        deviation = [layer - _first(layer) for layer in magnitude]
        torch._foreach_sub_(deviation, [layer.mean() for layer in deviation])
        squares = torch._foreach_mul(deviation, deviation)
        scales = [-2 * strength / layer.numel() / (layer.mean() + EPSILON).square() for layer in squares]
        torch._foreach_div_(deviation, magnitude)
        torch._foreach_mul_(deviation, scales)
        torch._foreach_addcmul_(gradients, deviation, weights)


@register_regularizer
class L1(LossTerm):
    """The sum of all magnitudes; gradient sign(w), zero at zero."""

    name = "l1"
    label = "l1"
    default_strength = 1.5e-4
    strength_range = (1.5e-5, 1.5e-3)

    def term(self, weights: Tensor) -> Tensor:
        """Sum of magnitudes of one layer."""
        return weights.abs().sum()

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=strength)


@register_regularizer
class Hoyer(LossTerm):
    """The sum over layers of sum |w| / sqrt(sum(w^2)): from 1 (one weight is left) to sqrt(n), whatever the scale.

    With S the sum of magnitudes and Q of squares the gradient is (sign(w) - (S / Q) w) / sqrt(Q). A layer of zeros has
    the term 0 and the gradient zero.

    Yang, Wen, Li: DeepHoyer, arXiv 1908.09979.
    """

    name = "hoyer"
    label = "Hoyer"
    default_strength = 1e-3
    strength_range = (1e-4, 1e-2)

    def term(self, weights: Tensor) -> Tensor:
        """The ratio sum |w| / sqrt(sum(w^2)) of one layer."""
        scaled = weights / _scale(weights)  # as in Hoyer-square
        squares = scaled.square().sum()
        # Two guards: the root of zero has no gradient.
        return torch.where(squares == 0, 0.0, scaled.abs().sum() / _nonzero(squares).sqrt())

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        for layer, gradient in zip(weights, gradients, strict=True):
            scale = _scale(layer)
            scaled = layer / scale
            squares = scaled.square().sum()
            divisor = _nonzero(squares)
            direction = torch.sign(scaled).sub_(scaled.mul_(scaled.abs().sum() / divisor))
            # Where the squares underflow the term is 0, and so is its gradient.
            gradient.add_(direction.mul_(torch.where(squares == 0, 0.0, strength / (scale * divisor.sqrt()))))


@register_regularizer
class HoyerSquare(LossTerm):
    """The sum over layers of (sum |w|)^2 / sum(w^2): from 1 (one weight is left) to n (all equal), whatever the scale.

    With S the sum of magnitudes and Q of squares the gradient is 2 (S / Q) (sign(w) - (S / Q) w). A layer of zeros has
    the term 0 and the gradient zero.

    Yang, Wen, Li: DeepHoyer, arXiv 1908.09979.
    """

    name = "hoyer_square"
    label = "Hoyer-square"
    default_strength = 5e-6
    strength_range = (5e-7, 5e-5)

    def term(self, weights: Tensor) -> Tensor:
        """(sum |w|)^2 / sum(w^2) of one layer."""
        # The term does not depend on scale, so any constant divisor leaves value and gradient as they are; this one
        # keeps the squares of tiny weights from underflowing.
        scaled = weights / _scale(weights)
        return scaled.abs().sum().square() / _nonzero(scaled.square().sum())

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        scales = [_scale(layer) for layer in weights]
        scaled = torch._foreach_div(weights, scales)
        signs = torch._foreach_sign(scaled)
        sums = [layer.abs().sum() for layer in scaled]
        squares = torch._foreach_mul(scaled, scaled)
        ratios = [total / _nonzero(layer.sum()) for total, layer in zip(sums, squares, strict=True)]
        torch._foreach_mul_(scaled, ratios)
        torch._foreach_sub_(signs, scaled)
        torch._foreach_mul_(signs, [2 * strength * ratio / scale for ratio, scale in zip(ratios, scales, strict=True)])
        torch._foreach_add_(gradients, signs)


def _first(layer: Tensor) -> Tensor:
    return layer[(0,) * layer.dim()]  # a view, where reshape would copy a channels-last kernel


def _scale(layer: Tensor) -> Tensor:
    largest = torch.linalg.vector_norm(layer.detach(), ord=torch.inf)
    return torch.where(largest < torch.finfo(layer.dtype).tiny, torch.ones_like(largest), largest)


def _nonzero(denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, torch.ones_like(denominator), denominator)
