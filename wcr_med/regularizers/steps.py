"""Decoupled concentration steps: they move the weights after the optimizer has, outside its momentum."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from wcr_med.config import RegularizerConfig
from wcr_med.regularizers.base import Moment, WeightStep
from wcr_med.regularizers.registry import register_regularizer
from wcr_med.regularizers.schedule import Schedule
from wcr_med.regularizers.terms import Hoyer

REFRESH = 4
"""Steps between two looks at the quantile of all magnitudes, which moves little in between."""


@register_regularizer
class WCRTangential(WeightStep):
    """WCR on the sphere: it gathers a layer's energy on few weights and keeps the layer's norm.

    On weights of constant norm WCR, Hoyer and l1 push in one and the same direction, sign(w) - (S / Q) w with S the sum
    of magnitudes and Q of squares; under normalisation layers only that part matters. After each optimizer step

        a    = learning rate * strength * rise * sqrt(Q / n)
        |w| <- max(0, |w| - a (1 - (S / Q) |w|)),    the signs kept;

    then the layer is scaled back to its norm. So the step neither fades nor depends on width and scale, and a weight
    that would cross zero stops there. A layer of zeros, or of one weight, does not move.

    Its term is that of Hoyer: the direction is sqrt(Q) times its gradient.
    """

    name = "wcr_tangential"
    label = "WCR, tangential step"
    default_strength = 0.1
    strength_range = (0.01, 1.0)

    def term(self, weights: Tensor) -> Tensor:
        """The ratio sum |w| / sqrt(sum(w^2)) of one layer."""
        return Hoyer().term(weights)

    @torch.no_grad()
    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:
        """The step above on every layer."""
        factor = moment.learning_rate * strength * moment.rise
        if factor == 0:
            return
        for weights in parameters.values():
            norm = torch.linalg.vector_norm(weights)
            magnitude = weights.abs()
            size = factor * norm / weights.numel() ** 0.5
            # (1 + a S / Q) |w| - a, in one multiplication and one addition.
            grown = magnitude * (1 + size * magnitude.sum() / norm.square()) - size
            grown.clamp_(min=0)
            scale = norm / torch.linalg.vector_norm(grown)
            # A layer whose weights all fell below the step keeps them, and so does one of zeros: it has no direction
            # to go. Chosen on the device, so that the step does not wait for it.
            moved = torch.copysign(grown.mul_(scale), weights)
            weights.copy_(torch.where(torch.isfinite(scale), moved, weights))


class _ToQuantile(WeightStep):
    """What the steps share that know which weights pruning will remove: the threshold, and how it rises.

    With r the schedule's rise, the target is s = sparsity * (1 - (1 - r)^3), and tau the s-quantile of |w| over all
    kernels together, looked at every `REFRESH` steps. The cubic is that of Zhu and Gupta, arXiv 1710.01878.

    With a cost weight c above 0 it is the quantile of |w| / cost^(c / 2), as cost-aware pruning ranks w^2 / cost^c, and
    each kernel's own threshold is tau * cost^(c / 2): weights of high-resolution layers, which decide the latency, go
    first. `prepare` gives the costs.
    """

    default_schedule = Schedule(start=0.1, ramp=0.3)
    options: ClassVar[tuple[str, ...]] = ("cost_weight",)

    def __init__(self, sparsity: float = 0.96, cost_weight: float = 0.0) -> None:
        self.sparsity = sparsity
        self.cost_weight = cost_weight
        self._dearness: dict[str, float] = {}
        self._tau: Tensor | None = None

    @classmethod
    def from_config(cls, config: RegularizerConfig) -> Self:
        """With `regularizer.sparsity` and `regularizer.cost_weight`."""
        return cls(sparsity=config.sparsity, cost_weight=config.cost_weight)

    @property
    def needs_costs(self) -> bool:
        """Whether it weighs them."""
        return self.cost_weight > 0

    def prepare(self, costs: Mapping[str, float]) -> None:
        """Take the costs."""
        self._dearness = {name: cost ** (self.cost_weight / 2) for name, cost in costs.items()}

    def target(self, rise: float) -> float:
        """The sparsity aimed at: from 0 at rise 0 to `sparsity` at rise 1."""
        return float(self.sparsity * (1 - (1 - rise) ** 3))

    def _thresholds(self, parameters: Mapping[str, Tensor], moment: Moment) -> tuple[dict[str, Tensor], bool]:
        """Each kernel's threshold, a scalar on its device, and whether they are new.

        Raises:
            ValueError: costs are needed, and `prepare` has not given them.
        """
        if self.needs_costs and not self._dearness:
            raise ValueError("cost_weight is above 0: give the costs with prepare() first")
        fresh = self._tau is None or moment.step % REFRESH == 0
        if fresh:
            self._tau = quantile(parameters, self.target(moment.rise), self._dearness)
        assert self._tau is not None
        return {name: self._tau * self._dearness.get(name, 1.0) for name in parameters}, fresh

    def state(self) -> dict[str, Tensor]:
        """The threshold in force."""
        return {} if self._tau is None else {"tau": self._tau}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the threshold."""
        self._tau = state.get("tau")


@register_regularizer
class WCRQuantile(_ToQuantile):
    """The step that knows the pruning threshold: weights below it shrink, those above are left alone.

    After each optimizer step, with tau of the sparsity aimed at (see `_ToQuantile`),

        |w| <- max(0, |w| - strength * max(0, tau - |w|)),    the signs kept.

    It descends on the minimax concave penalty, tau |w| - w^2 / 2 below tau and tau^2 / 2 above (Zhang, Annals of
    Statistics 38, 2010): survivors are not shrunk, the others go to exactly zero, and pruning at or below `sparsity`
    removes zeros. `keep_norm` p multiplies each layer by (norm before / norm after)^p, so that layers of small weights
    are not emptied; a layer without any weight left stays so. In the schedule's `settle` nothing is held: weights that
    went to zero may grow again.
    """

    name = "wcr_quantile"
    label = "WCR, quantile step"
    default_strength = 0.1
    strength_range = (0.01, 1.0)
    largest_strength = 1.0
    options = ("cost_weight", "keep_norm")

    def __init__(self, sparsity: float = 0.96, cost_weight: float = 0.0, keep_norm: float = 0.0) -> None:
        super().__init__(sparsity, cost_weight)
        self.keep_norm = keep_norm

    @classmethod
    def from_config(cls, config: RegularizerConfig) -> Self:
        """With `regularizer.sparsity`, `regularizer.cost_weight` and `regularizer.keep_norm`."""
        return cls(sparsity=config.sparsity, cost_weight=config.cost_weight, keep_norm=config.keep_norm)

    def term(self, weights: Tensor) -> Tensor:
        """The penalty of one layer at the threshold in force, costs left out; 0 before there is one."""
        tau = torch.zeros((), dtype=weights.dtype, device=weights.device) if self._tau is None else self._tau
        below = torch.minimum(weights.abs(), tau)
        return (tau * below - below.square() / 2).sum()

    @torch.no_grad()
    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:
        """The step above on every layer."""
        taus, _ = self._thresholds(parameters, moment)
        for name, weights in parameters.items():
            tau = taus[name]
            norm = torch.linalg.vector_norm(weights) if self.keep_norm else None
            magnitude = weights.abs()
            # Above tau the second is the larger one, so the minimum leaves those weights as they are.
            shrunk = torch.minimum(magnitude, (magnitude * (1 + strength)).sub_(strength * tau).clamp_(min=0))
            weights.copy_(shrunk.copysign_(weights))
            if norm is not None:
                left = torch.linalg.vector_norm(weights)
                weights.mul_(torch.where(left > 0, norm / left, 1.0) ** self.keep_norm)


@register_regularizer
class GradualMagnitude(_ToQuantile):
    """Hard gradual magnitude pruning: the control for steps that shrink.

    Every `REFRESH` steps the weights at or below tau (see `_ToQuantile`) are masked, and a masked weight is zero after
    every step from then on. The mask outlives the schedule's `settle`. The strength has no meaning and is 1.

    Zhu, Gupta: To prune, or not to prune, arXiv 1710.01878.
    """

    name = "gradual_magnitude"
    label = "gradual magnitude pruning"
    default_strength = 1.0
    strength_range = (1.0, 1.0)
    largest_strength = 1.0

    def __init__(self, sparsity: float = 0.96, cost_weight: float = 0.0) -> None:
        super().__init__(sparsity, cost_weight)
        self._keep: dict[str, Tensor] = {}

    def term(self, weights: Tensor) -> Tensor:
        """The number of weights of one layer that are not zero; it has no gradient."""
        return (weights != 0).to(weights.dtype).sum()

    @torch.no_grad()
    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:
        """Mask anew where it is time, and hold the mask."""
        del strength
        taus, fresh = self._thresholds(parameters, moment)
        for name, weights in parameters.items():
            if fresh:
                kept = weights.abs() > taus[name]
                self._keep[name] = kept & self._keep[name] if name in self._keep else kept
            weights.mul_(self._keep[name])

    @torch.no_grad()
    def hold_(self, parameters: Mapping[str, Tensor]) -> None:
        """Hold the mask; before there is one nothing."""
        for name, keep in self._keep.items():
            parameters[name].mul_(keep)

    def state(self) -> dict[str, Tensor]:
        """The threshold and the mask of each kernel."""
        return super().state() | {f"keep.{name}": keep for name, keep in self._keep.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over threshold and mask."""
        super().load_state(state)
        self._keep = {key.removeprefix("keep."): keep for key, keep in state.items() if key.startswith("keep.")}


@torch.no_grad()
def quantile(parameters: Mapping[str, Tensor], share: float, dearness: Mapping[str, float] | None = None) -> Tensor:
    """The magnitude at or below which a share of all weights lies: the round(share * n)-th smallest of n.

    Args:
        parameters: kernels by name, at least one weight in all, on one device.
        share: 0 to 1; where it rounds to no weight the result is 0.
        dearness: by name, what the magnitudes of a kernel are divided by; 1 where it stands not.

    Returns:
        A scalar on that device.
    """
    magnitudes = [weights.detach().abs().reshape(-1) for weights in parameters.values()]
    if dearness:
        torch._foreach_div_(magnitudes, [dearness.get(name, 1.0) for name in parameters])
    every = torch.cat(magnitudes)
    k = round(share * every.numel())
    return torch.kthvalue(every, k).values if k else every.new_zeros(())
