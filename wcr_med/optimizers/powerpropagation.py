"""Powerpropagation: kernels are w = theta * |theta|^(alpha - 1), and theta is what the optimizer moves."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Powerpropagation:
    """Turns the step of any optimizer on w into one on theta. Small weights then move less, and stay small.

    The network holds w before and after, so whatever prunes, regularises, validates or saves it sees w and never theta:

        power.to_theta_()         # parameters become theta, .grad becomes dL/dtheta = alpha |theta|^(alpha - 1) dL/dw
        optimizer.step()          # momentum and weight decay act on theta
        power.to_weights_()       # parameters become w again

    Schwarz, Jayakumar, Pascanu, Latham, Teh: arXiv 2110.00296. As there, theta starts at the value that leaves the
    first weights as they are initialised.

    Args:
        kernels: by name; biases and normalisation parameters are not reparameterised.
        alpha: above 1; at 1 nothing changes.

    Raises:
        ValueError: alpha is below 1.
    """

    def __init__(self, kernels: Mapping[str, nn.Parameter], alpha: float) -> None:
        if alpha < 1:
            raise ValueError(f"alpha is {alpha}: at least 1 is needed")
        self._kernels = kernels
        self._alpha = alpha
        self._theta: dict[str, Tensor] = {}
        self.follow_()

    @torch.no_grad()
    def to_theta_(self) -> None:
        """Before the optimizer's step: parameters hold theta, their gradients are those of theta."""
        for name, kernel in self._kernels.items():
            theta = self._theta[name]
            if kernel.grad is not None:
                kernel.grad.mul_(theta.abs().pow_(self._alpha - 1).mul_(self._alpha))
            kernel.copy_(theta)

    @torch.no_grad()
    def to_weights_(self) -> None:
        """After the optimizer's step: keep theta, parameters hold w."""
        for name, kernel in self._kernels.items():
            self._theta[name].copy_(kernel)
            kernel.mul_(kernel.abs().pow_(self._alpha - 1))

    @torch.no_grad()
    def follow_(self) -> None:
        """After something else moved w: take theta = sign(w) |w|^(1 / alpha)."""
        for name, kernel in self._kernels.items():
            self._theta[name] = kernel.detach().abs().pow_(1 / self._alpha).copysign_(kernel.detach())

    def state(self) -> dict[str, Tensor]:
        """Theta by kernel: w gives it back only up to rounding."""
        return dict(self._theta)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over theta, in the kernels' memory layout."""
        for name, theta in self._theta.items():
            theta.copy_(state[name])
