"""Terms that are added to the loss: WCR, l1 and Hoyer-square, each in a reference form and a fast form.

The reference form is the formula, differentiated by autograd. The fast form adds the closed-form gradient to `.grad`
and never builds a graph. Both run over the kernels that `wcr_med.models.prunable_parameters` names, one term a layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from wcr_med.config import RegularizerConfig

EPSILON = 1e-8
"""Added to a layer's variance in WCR, so that a layer of equal magnitudes has a finite term."""

SMOOTHING = 1e-8
"""Under the root of WCR's magnitudes sqrt(w^2 + r), so that they have a gradient at zero."""


class Regularizer(ABC):
    """A sum of one term a layer. Stateless.

    Attributes:
        name: as in the configuration.
    """

    name: ClassVar[str]

    @abstractmethod
    def term(self, weights: Tensor) -> Tensor:
        """The term of one layer: floating point of any shape with at least one weight -> scalar, differentiable."""

    @abstractmethod
    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        """Add `strength` times the gradient of the sum of terms to `gradients`, in place."""

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The reference form: the sum of all layers' terms, for autograd.

        Args:
            parameters: the regularised kernels by name, floating point; each with at least one weight.

        Returns:
            A scalar; 0 for no parameters.
        """
        terms = [self.term(weights) for weights in parameters.values()]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    @torch.no_grad()
    def add_gradient_(self, parameters: Mapping[str, Tensor], strength: float) -> None:
        """The fast form: add `strength` times the gradient of `penalty` to every `.grad`, in place.

        Call it after `backward` and, where the gradient of the loss is clipped, after the clipping. A missing `.grad`
        counts as zero. Parameters that take no gradient are left alone.

        Args:
            parameters: the regularised kernels by name, leaves.
            strength: lambda of the loss, at least 0.
        """
        trained = [weights for weights in parameters.values() if weights.requires_grad]
        if not trained or strength == 0:
            return
        gradients = []
        for weights in trained:
            if weights.grad is None:
                weights.grad = torch.zeros_like(weights)
            gradients.append(weights.grad)
        values = [weights.detach() for weights in trained]
        if any(layer.is_cuda for layer in values):  # few launches for all layers
            self._add_gradient_(values, gradients, strength)
        else:  # layer by layer, so that what is computed stays in the processor's cache
            for layer, gradient in zip(values, gradients, strict=True):
                self._add_gradient_([layer], [gradient], strength)

    @torch.no_grad()
    def terms(self, parameters: Mapping[str, Tensor]) -> dict[str, float]:
        """Each layer's term by name, for logs; their sum is the value of `penalty`."""
        values = {name: self.term(weights) for name, weights in parameters.items()}
        return {name: float(value) for name, value in values.items()}


class WCR(Regularizer):
    """Weight Concentration Regularizer: the sum over layers of 1 / (Var(m) + eps), with m_i = sqrt(w_i^2 + r).

    Var is the population variance of the layer's magnitudes; eps = r = 1e-8. A descent step grows every weight whose
    magnitude is above its layer's mean and shrinks the others: the layer's energy gathers on few weights, and magnitude
    pruning then removes what no longer matters. The gradient for weight i of n is

        -(2 / n) (m_i - mean(m)) (w_i / m_i) / (Var(m) + eps)^2.

    A layer of one weight, or of equal magnitudes, has the term 1 / eps and the gradient zero.

    Yun, Jo, Lee: arXiv 2511.14282.
    """

    name = "wcr"

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


class L1(Regularizer):
    """The sum of all magnitudes; gradient sign(w), zero at zero."""

    name = "l1"

    def term(self, weights: Tensor) -> Tensor:
        """Sum of magnitudes of one layer."""
        return weights.abs().sum()

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=strength)


class HoyerSquare(Regularizer):
    """The sum over layers of (sum |w|)^2 / sum(w^2): from 1 (one weight is left) to n (all equal), whatever the scale.

    With S the sum of magnitudes and Q of squares the gradient is 2 (S / Q) (sign(w) - (S / Q) w). A layer of zeros has
    the term 0 and the gradient zero.

    Yang, Wen, Li: DeepHoyer, arXiv 1908.09979.
    """

    name = "hoyer_square"

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


_TABLE: dict[str, type[Regularizer]] = {kind.name: kind for kind in (WCR, L1, HoyerSquare)}


def build_regularizer(config: RegularizerConfig) -> Regularizer | None:
    """The regularizer that a configuration names; `None` for "none". Its strength is given at each call."""
    return None if config.name == "none" else _TABLE[config.name]()


def _first(layer: Tensor) -> Tensor:
    return layer[(0,) * layer.dim()]  # a view, where reshape would copy a channels-last kernel


def _scale(layer: Tensor) -> Tensor:
    largest = torch.linalg.vector_norm(layer.detach(), ord=torch.inf)
    return torch.where(largest < torch.finfo(layer.dtype).tiny, torch.ones_like(largest), largest)


def _nonzero(denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, torch.ones_like(denominator), denominator)
