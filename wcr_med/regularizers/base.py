"""What every regularizer is: a term of the loss, or a step after the optimizer's, behind the same two hooks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor

from wcr_med.config import RegularizerConfig
from wcr_med.regularizers.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in the training a step is taken.

    Attributes:
        step: counted from 0.
        learning_rate: of the optimizer at this step.
        rise: of the schedule, above 0 and at most 1.
    """

    step: int
    learning_rate: float
    rise: float


class Regularizer(ABC):
    """Concentrates weights while a network trains. Runs over the kernels that `prunable_parameters` names.

    To add one: subclass `LossTerm` or `WeightStep`, give it the class attributes, decorate it with
    `wcr_med.regularizers.register_regularizer`. It is then a value of `regularizer.name`, and a row of `compare`.

    Attributes:
        name: as in the configuration.
        label: a few words for tables.
        default_strength: used where the configuration gives none.
        strength_range: lowest and highest strength that a tuning tries, on a logarithmic scale.
        largest_strength: above it the method is not defined.
        default_schedule: used where the configuration gives none.
        options: which of `regularizer.cost_weight` and `keep_norm` its `from_config` takes; others may not be set.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    default_strength: ClassVar[float]
    strength_range: ClassVar[tuple[float, float]]
    largest_strength: ClassVar[float] = inf
    default_schedule: ClassVar[Schedule] = Schedule()
    options: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_config(cls, config: RegularizerConfig) -> Self:
        """Build it with the settings of its own; most have none."""
        return cls()

    @abstractmethod
    def term(self, weights: Tensor) -> Tensor:
        """The value of one layer: floating point of any shape with at least one weight -> scalar, differentiable."""

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The sum of all layers' terms, for autograd.

        Args:
            parameters: the regularised kernels by name, floating point; each with at least one weight.

        Returns:
            A scalar; 0 for no parameters.
        """
        terms = [self.term(weights) for weights in parameters.values()]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    @torch.no_grad()
    def terms(self, parameters: Mapping[str, Tensor]) -> dict[str, float]:
        """Each layer's term by name, for logs; their sum is the value of `penalty`."""
        values = {name: self.term(weights) for name, weights in parameters.items()}
        return {name: float(value) for name, value in values.items()}

    def add_gradient_(self, parameters: Mapping[str, Tensor], strength: float) -> None:  # noqa: B027 - a hook
        """What it does between the backward pass and the optimizer's step; nothing, unless it is a `LossTerm`."""

    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:  # noqa: B027 - a hook
        """What it does to the weights after the optimizer's step; nothing, unless it is a `WeightStep`."""

    def hold_(self, parameters: Mapping[str, Tensor]) -> None:  # noqa: B027 - a hook
        """What it keeps up after each step of the schedule's `settle`, where it acts no more; for most nothing."""

    @property
    def needs_costs(self) -> bool:
        """Whether `prepare` must be called before the first step."""
        return False

    def prepare(self, costs: Mapping[str, float]) -> None:  # noqa: B027 - a hook
        """Take what a weight of each kernel costs at inference, by name, as of `wcr_med.models.layer_costs`."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs, by name without "/"; empty for most."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - a hook
        """Take over what `state` gave."""


class LossTerm(Regularizer):
    """A sum of one term a layer, added to the loss. Stateless.

    The reference form is `penalty`, differentiated by autograd. The fast form, `add_gradient_`, adds the closed-form
    gradient to `.grad` and never builds a graph; a subclass that gives no closed form gets autograd's.
    """

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

    def _add_gradient_(self, weights: list[Tensor], gradients: list[Tensor], strength: float) -> None:
        """Add `strength` times the gradient of the sum of terms to `gradients`, in place."""
        with torch.enable_grad():
            leaves = [layer.detach().requires_grad_() for layer in weights]
            found = torch.autograd.grad(torch.stack([self.term(leaf) for leaf in leaves]).sum(), leaves)
        torch._foreach_add_(gradients, list(found), alpha=strength)


class WeightStep(Regularizer):
    """A step of its own after the optimizer's: outside momentum and weight decay, and not clipped.

    `term` is the penalty on which `step_` descends; subclasses say how.
    """

    @abstractmethod
    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:
        """Move the weights, in place.

        Args:
            parameters: the regularised kernels by name.
            strength: size of the step, at least 0 and at most `largest_strength`.
            moment: where in the training it is; the schedule's rise is in it, and not yet in `strength`.
        """
