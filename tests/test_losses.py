"""Analytic values, bounds and gradients of the training loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from wcr_med.config import LossConfig
from wcr_med.losses import build_loss

_S = 1e-5


def test_right_and_certain_costs_nothing() -> None:
    target = (torch.arange(2 * 64).reshape(2, 1, 8, 8) % 3 == 0).float()
    loss = build_loss(LossConfig())(40 * (2 * target - 1), target)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_dice_of_an_undecided_network_is_that_of_the_formula() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., 0] = 1
    loss = build_loss(LossConfig(dice=1.0, cross_entropy=0.0))(torch.zeros_like(target), target)
    assert loss.item() == pytest.approx(1 - (2 * 0.5 * 4 + _S) / (0.5 * 16 + 4 + _S), rel=1e-6)


@pytest.mark.parametrize(("over", "expected"), [("slice", (0 + 1) / 2), ("batch", 1 - 2 * 16 / (32 + 16))])
def test_dice_is_that_of_each_slice_or_of_the_batch(over: str, expected: float) -> None:
    target = torch.zeros(2, 1, 4, 4)
    target[0] = 1
    logits = torch.full_like(target, 40.0)
    loss = build_loss(LossConfig(dice=1.0, cross_entropy=0.0, dice_over=over))(logits, target)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_alone_is_the_mean_over_pixels() -> None:
    logits = torch.linspace(-3, 3, 32).reshape(2, 1, 4, 4)
    target = (logits.sin() > 0).float()
    loss = build_loss(LossConfig(dice=0.0, cross_entropy=2.0))(logits, target)
    assert loss.item() == pytest.approx(2 * F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-6)


def test_silence_on_a_slice_without_tumour_is_right() -> None:
    target = torch.zeros(1, 1, 8, 8)
    loss = build_loss(LossConfig())
    assert loss(torch.full_like(target, -40.0), target).item() == pytest.approx(0, abs=1e-5)
    assert loss(torch.zeros_like(target), target).item() == pytest.approx(1 + math.log(2), abs=1e-4)


def test_gradient_raises_logits_inside_and_lowers_them_outside() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:5, 2:5] = 1
    logits = torch.zeros_like(target, requires_grad=True)
    build_loss(LossConfig())(logits, target).backward()
    assert logits.grad is not None
    assert (logits.grad[target == 1] < 0).all()
    assert (logits.grad[target == 0] > 0).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**16), st.floats(0.1, 50), st.floats(0, 2), st.floats(0.1, 2))
def test_never_negative_and_always_with_a_finite_gradient(seed: int, scale: float, dice: float, entropy: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(2, 1, 6, 5, generator=generator)).requires_grad_()
    target = (torch.rand(2, 1, 6, 5, generator=generator) > 0.7).float()
    loss = build_loss(LossConfig(dice=dice, cross_entropy=entropy))(logits, target)
    loss.backward()
    assert loss.item() >= 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
