"""Powerpropagation against autograd through w = theta |theta|^(alpha - 1)."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from wcr_med.optimizers import Powerpropagation

TARGET = torch.tensor([0.5, -1.0, 0.2, 0.0, 0.9], dtype=torch.float64)


def loss_of(w: Tensor) -> Tensor:
    return (w - TARGET).square().sum()


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.5])
def test_it_is_the_optimizer_on_theta(kind: type[Optimizer], alpha: float) -> None:
    settings: dict[str, float] = {"lr": 0.05, "weight_decay": 0.1} | ({"momentum": 0.9} if kind is SGD else {})
    first = torch.tensor([0.3, -0.8, 0.05, 0.4, -0.6], dtype=torch.float64)

    theta = nn.Parameter(first.abs().pow(1 / alpha) * first.sign())
    expected = kind([theta], **settings)  # type: ignore[arg-type]
    w = nn.Parameter(first.clone())
    power, optimizer = Powerpropagation({"w": w}, alpha), kind([w], **settings)  # type: ignore[arg-type]
    for _ in range(5):
        expected.zero_grad()
        torch.autograd.backward(loss_of(theta * theta.abs().pow(alpha - 1)))
        expected.step()
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(w))
        power.to_theta_()
        optimizer.step()
        power.to_weights_()
        torch.testing.assert_close(w.detach(), (theta * theta.abs().pow(alpha - 1)).detach(), rtol=1e-9, atol=1e-12)


def test_the_first_weights_stay_and_zero_stays_zero() -> None:
    w = nn.Parameter(torch.tensor([0.3, 0.0, -0.7]))
    power, optimizer = Powerpropagation({"w": w}, 2.0), SGD([w], lr=0.1)
    w.grad = torch.ones(3)
    power.to_theta_()
    optimizer.step()
    power.to_weights_()
    assert float(w.detach()[1]) == 0
    assert w.detach()[0] < 0.3


def test_it_follows_weights_that_something_else_moved() -> None:
    w = nn.Parameter(torch.tensor([0.3, -0.7]))
    power = Powerpropagation({"w": w}, 2.0)
    with torch.no_grad():
        w.copy_(torch.tensor([0.04, -0.25]))
    power.follow_()
    torch.testing.assert_close(power.state()["w"], torch.tensor([0.2, -0.5]))


def test_alpha_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        Powerpropagation({}, 0.5)
