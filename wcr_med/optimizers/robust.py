"""Gradients that look beyond the current weights: SAM, CrAM+ and S2SAM, in front of any torch optimizer.

    robust = build_robust(model, config)
    for images, masks in loader:
        optimizer.zero_grad(set_to_none=True)
        loss = robust.gradient_(lambda: backward(images, masks))    # backward adds to .grad and gives the loss
        optimizer.step()

Each leaves the weights as they were, bit for bit, and the gradient to step with in `.grad`. What they keep between
steps lies in buffers of their own, so that clearing `.grad` costs them nothing.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from wcr_med.config import OptimizerConfig
from wcr_med.models import prunable_parameters

Backward = Callable[[], Tensor]
"""Computes the loss at the weights as they are, adds its gradient to every `.grad`, and returns the detached loss."""

TINY = 1e-12
"""Added to the gradient's norm, so that a gradient of zero perturbs nothing."""


class Robust(ABC):
    """A way to get the gradient of a step.

    Args:
        model: the network; all parameters that take a gradient are perturbed.
        rho: length of the perturbation, above 0.
    """

    def __init__(self, model: nn.Module, rho: float) -> None:
        self._model = model
        self._rho = rho
        self._parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}

    @abstractmethod
    def gradient_(self, backward: Backward) -> Tensor:
        """Put the gradient of this step into every `.grad`, which must be clear before.

        Returns:
            The loss of the first pass, a detached scalar.
        """

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs, by name; empty for most."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - a hook
        """Take over what `state` gave."""

    def _values(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self._parameters.values()]

    def _gradients(self) -> list[Tensor]:
        """Every gradient; zeros where the loss does not depend on a parameter."""
        return [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self._parameters.values()
        ]

    def _set_gradients(self, gradients: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            parameter.grad = gradient

    def _clear_gradients(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    @contextlib.contextmanager
    def _elsewhere(self) -> Iterator[list[Tensor]]:
        """The parameters' values, to be changed in place for the length of a block; then they are as before."""
        values = self._values()
        before = [value.clone() for value in values]
        try:
            yield values
        finally:
            torch._foreach_copy_(values, before)


class SAM(Robust):
    """Sharpness-aware minimisation: the gradient at w + e, e = rho * g / (norm(g) + 1e-12), g the gradient at w.

    The norm is that of all parameters together. Two passes; batch-norm statistics move in the first alone. Foret,
    Kleiner, Mobahi, Neyshabur: arXiv 2010.01412.
    """

    def gradient_(self, backward: Backward) -> Tensor:
        """Two passes: at w, and at w + e."""
        loss = backward()
        direction = self._gradients()
        self._clear_gradients()
        with self._elsewhere() as values, frozen_statistics(self._model):
            torch._foreach_add_(values, torch._foreach_mul(direction, self._rho / (_norm(direction) + TINY)))
            backward()
        return loss


class CrAMPlus(Robust):
    """Compression-aware minimisation, the variant that keeps the dense network good.

    With g the gradient at w, w' = TopK(w + rho * g), g not normalised: of all kernels together only the largest
    magnitudes stay, at a sparsity drawn for each step. The gradient of the step is g + mask * g', g' the gradient at w'
    and mask 1 where w' stayed; biases and normalisation parameters are perturbed and never masked. Two passes;
    batch-norm statistics move in the first alone. Peste, Vladu, Kurtic, Lampert, Alistarh: arXiv 2207.14200.

    Args:
        model: the network.
        rho: length of the perturbation.
        sparsities: one is drawn a step, from torch's own generator.
    """

    def __init__(self, model: nn.Module, rho: float, sparsities: Sequence[float]) -> None:
        super().__init__(model, rho)
        self._sparsities = tuple(sparsities)
        self._kernels = [name for name in prunable_parameters(model) if name in self._parameters]

    def gradient_(self, backward: Backward) -> Tensor:
        """Two passes: at w, and at w'."""
        loss = backward()
        first = self._gradients()
        self._clear_gradients()
        sparsity = self._sparsities[int(torch.randint(len(self._sparsities), ()))]
        with self._elsewhere() as values, frozen_statistics(self._model):
            torch._foreach_add_(values, first, alpha=self._rho)
            kept = self._sparsify_(dict(zip(self._parameters, values, strict=True)), sparsity)
            backward()
        second = self._gradients()
        for name, gradient in zip(self._parameters, second, strict=True):
            if name in kept:
                gradient.mul_(kept[name])
        torch._foreach_add_(first, second)
        self._set_gradients(first)
        return loss

    def _sparsify_(self, values: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Zero the smallest round(sparsity * n) weights of all kernels together; what stays, by name."""
        kernels = {name: values[name] for name in self._kernels}
        every = torch.cat([kernel.abs().reshape(-1) for kernel in kernels.values()])
        k = round(sparsity * every.numel())
        border = torch.kthvalue(every, k).values if k else every.new_full((), -1.0)
        kept = {name: kernel.abs() > border for name, kernel in kernels.items()}
        for name, kernel in kernels.items():
            kernel.mul_(kept[name])
        return kept


class S2SAM(Robust):
    """Single-step SAM: one pass at w + e, e = rho * g / (norm(g) + 1e-12), g the gradient of the step before.

    The first step is not perturbed. g is kept in buffers of its own: read from `.grad` it would be gone wherever the
    loop clears gradients. Batch-norm statistics move as in any single pass. Ji et al.: NeurIPS 2024.
    """

    def __init__(self, model: nn.Module, rho: float) -> None:
        super().__init__(model, rho)
        self._before: dict[str, Tensor] = {}

    def gradient_(self, backward: Backward) -> Tensor:
        """One pass, at w + e."""
        if self._before:
            direction = list(self._before.values())
            with self._elsewhere() as values:
                torch._foreach_add_(values, torch._foreach_mul(direction, self._rho / (_norm(direction) + TINY)))
                loss = backward()
        else:
            loss = backward()
        gradients = [gradient.clone() for gradient in self._gradients()]
        self._before = dict(zip(self._parameters, gradients, strict=True))
        return loss

    def state(self) -> dict[str, Tensor]:
        """The gradient of the step before, by parameter."""
        return dict(self._before)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over that gradient, in the parameters' memory layout."""
        self._before = {
            name: torch.empty_like(parameter, requires_grad=False).copy_(state[name])
            for name, parameter in self._parameters.items()
            if name in state
        }


def build_robust(model: nn.Module, config: OptimizerConfig) -> Robust | None:
    """The method that `optimizer.robust` names; `None` for "none"."""
    match config.robust:
        case "none":
            return None
        case "sam":
            return SAM(model, config.rho)
        case "s2sam":
            return S2SAM(model, config.rho)
        case "cram_plus":
            return CrAMPlus(model, config.rho, config.cram_sparsities)


@contextlib.contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Batch and instance norms of a network in training use the batch's statistics and leave their running ones."""
    tracking = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))
    return norm
