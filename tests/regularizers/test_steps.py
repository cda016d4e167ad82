"""Decoupled steps: against their formulas, against autograd, and what they promise about norms, zeros and survivors."""

import pytest
import torch
from torch import Tensor

from wcr_med.regularizers import GradualMagnitude, Hoyer, Moment, WCRQuantile, WCRTangential, WeightStep
from wcr_med.regularizers.steps import REFRESH, quantile


def kernels(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv": (8, 5, 3, 3), "up": (6, 4, 2, 2), "linear": (30, 9)}
    return {
        name: scale * torch.randn(shape, generator=generator, dtype=dtype)
        for (name, shape), scale in zip(shapes.items(), (0.3, 0.1, 1.0), strict=True)
    }


def now(step: int = 0, rise: float = 1.0, learning_rate: float = 0.05) -> Moment:
    return Moment(step=step, rise=rise, learning_rate=learning_rate)


def copied(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights.clone() for name, weights in parameters.items()}


# Tangential


def test_tangential_moves_each_weight_as_its_formula_says() -> None:
    parameters = kernels()
    before = copied(parameters)
    WCRTangential().step_(parameters, 0.3, now(rise=0.5))
    for name, w in before.items():
        a = 0.05 * 0.3 * 0.5 * w.square().mean().sqrt()
        magnitude = (w.abs() - a * (1 - w.abs().mean() / w.square().mean() * w.abs())).clamp(min=0)
        expected = magnitude * w.sign() * (w.norm() / magnitude.norm())
        torch.testing.assert_close(parameters[name], expected, rtol=1e-12, atol=1e-14)


def test_tangential_descends_on_hoyer_along_the_sphere() -> None:
    parameters = {"w": torch.tensor([0.5, -0.4, 0.3, -0.2], dtype=torch.float64)}
    w = parameters["w"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Hoyer().term(w), w)
    tiny = 1e-7
    WCRTangential().step_(parameters, 1.0, now(learning_rate=tiny))
    norm = w.detach().norm()
    expected = -tiny * norm / 4**0.5 * norm * gradient
    torch.testing.assert_close(parameters["w"] - w.detach(), expected, rtol=1e-5, atol=0)


def test_tangential_keeps_norms_and_signs_and_lowers_its_term() -> None:
    parameters = kernels(torch.float32)
    before = copied(parameters)
    step = WCRTangential()
    for number in range(20):
        step.step_(parameters, 1.0, now(number))
    for name, weights in parameters.items():
        assert float(weights.norm()) == pytest.approx(float(before[name].norm()), rel=1e-5)
        assert bool((weights * before[name] >= 0).all())
        assert float(step.term(weights)) < 0.9 * float(step.term(before[name]))


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0], [1e-30, -1e-30], [2.0, 2.0, -2.0]])
def test_tangential_leaves_what_has_no_direction(values: list[float]) -> None:
    parameters = {"w": torch.tensor(values)}
    WCRTangential().step_(parameters, 1.0, now())
    torch.testing.assert_close(parameters["w"], torch.tensor(values), rtol=1e-6, atol=0)


def test_a_step_larger_than_the_layer_does_not_empty_it() -> None:
    parameters = {"w": torch.tensor([1.0, -1.0, 1.0, 1.0])}
    WCRTangential().step_(parameters, 1.0, now(learning_rate=1e6))
    assert bool(torch.isfinite(parameters["w"]).all())
    assert float(parameters["w"].norm()) == pytest.approx(2)


# Quantile


def test_quantile_moves_each_weight_as_its_formula_says() -> None:
    parameters = kernels()
    before = copied(parameters)
    tau = quantile(before, 0.8)
    WCRQuantile(sparsity=0.8).step_(parameters, 0.1, now())
    for name, w in before.items():
        expected = (w.abs() - 0.1 * (tau - w.abs()).clamp(min=0)).clamp(min=0) * w.sign()
        torch.testing.assert_close(parameters[name], expected, rtol=1e-12, atol=1e-15)
        above = w.abs() >= tau
        assert torch.equal(parameters[name][above], w[above])


def test_quantile_descends_on_the_minimax_concave_penalty() -> None:
    step = WCRQuantile(sparsity=0.8)
    parameters = kernels()
    step.step_(copied(parameters), 0.1, now())  # sets the threshold
    leaves = {name: weights.clone().requires_grad_() for name, weights in parameters.items()}
    gradients = torch.autograd.grad(step.penalty(leaves), list(leaves.values()))
    step.step_(parameters, 0.01, now(step=1))
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        moved = leaf.detach() - 0.01 * gradient
        moved = torch.where(moved * leaf.detach() < 0, 0.0, moved)
        torch.testing.assert_close(parameters[name], moved, rtol=1e-9, atol=1e-12)


def test_quantile_reaches_its_sparsity_and_spares_the_rest() -> None:
    parameters = kernels(torch.float32)
    before = copied(parameters)
    step = WCRQuantile(sparsity=0.9)
    for number in range(200):
        step.step_(parameters, 0.1, now(number))
    every = torch.cat([weights.flatten() for weights in parameters.values()])
    assert float((every == 0).float().mean()) == pytest.approx(0.9, abs=0.01)
    largest = max(before, key=lambda name: float(before[name].abs().max()))
    assert float(parameters[largest].abs().max()) == float(before[largest].abs().max())


@pytest.mark.parametrize(("rise", "expected"), [(0.0, 0.0), (0.5, 0.7), (1.0, 0.8)])
def test_the_target_rises_by_the_cubic(rise: float, expected: float) -> None:
    assert WCRQuantile(sparsity=0.8).target(rise) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [WCRQuantile, GradualMagnitude])
def test_costs_move_the_threshold_of_each_kernel(kind: type[WCRQuantile] | type[GradualMagnitude]) -> None:
    weights = torch.linspace(0.1, 1, 100, dtype=torch.float64)
    parameters = {"cheap": weights.clone(), "dear": weights.clone()}
    step = kind(sparsity=0.5, cost_weight=0.5)
    step.prepare({"cheap": 1.0, "dear": 16.0})
    for number in range(200):
        step.step_(parameters, 1.0, now(number))
    left = {name: int((kernel != 0).sum()) for name, kernel in parameters.items()}
    # |w| / 16^(1/4): a weight of the dear kernel ranks as one half as large.
    assert sum(left.values()) == pytest.approx(100, abs=2)
    tau = float(quantile({"cheap": weights, "dear": weights}, 0.5, {"dear": 2.0}))
    assert left["cheap"] == pytest.approx(int((weights > tau).sum()), abs=2)
    assert left["dear"] == pytest.approx(int((weights > 2 * tau).sum()), abs=2)


def test_costs_that_are_needed_and_missing_are_an_error() -> None:
    with pytest.raises(ValueError, match="prepare"):
        WCRQuantile(cost_weight=1.0).step_(kernels(), 0.1, now())


def test_keep_norm_restores_each_layer_and_half_of_it_the_root() -> None:
    for share in (0.5, 1.0):
        parameters, plain = kernels(), kernels()
        before = copied(parameters)
        WCRQuantile(sparsity=0.5).step_(plain, 0.5, now())
        WCRQuantile(sparsity=0.5, keep_norm=share).step_(parameters, 0.5, now())
        for name, weights in parameters.items():
            expected = before[name].norm() ** share * plain[name].norm() ** (1 - share)
            assert float(weights.norm()) == pytest.approx(float(expected), rel=1e-9)


def test_keep_norm_leaves_an_emptied_layer_empty() -> None:
    parameters = {"small": torch.linspace(1e-6, 1e-5, 50), "large": torch.linspace(1, 2, 50)}
    WCRQuantile(sparsity=0.6, keep_norm=1.0).step_(parameters, 1.0, now())
    assert not bool(parameters["small"].any())
    assert bool(torch.isfinite(parameters["large"]).all())


def test_the_threshold_is_looked_at_every_few_steps() -> None:
    step = WCRQuantile(sparsity=0.5)
    parameters = {"w": torch.linspace(1, 2, 100)}
    step.step_(parameters, 1e-9, now(0))
    first = step.state()["tau"].clone()
    parameters["w"] *= 2
    for number in range(1, REFRESH):
        step.step_(parameters, 1e-9, now(number))
        assert float(step.state()["tau"]) == float(first)
    step.step_(parameters, 1e-9, now(REFRESH))
    assert float(step.state()["tau"]) == pytest.approx(2 * float(first), rel=1e-6)


# Gradual magnitude pruning


def test_gradual_magnitude_masks_exactly_and_for_good() -> None:
    parameters = {"w": torch.arange(1.0, 101.0)}
    step = GradualMagnitude(sparsity=0.6)
    step.step_(parameters, 1.0, now(0))
    assert int((parameters["w"] == 0).sum()) == 60
    parameters["w"] += 1000  # as an optimizer might
    step.step_(parameters, 1.0, now(1))
    assert int((parameters["w"] == 0).sum()) == 60
    assert not bool(parameters["w"][:60].any())


@pytest.mark.parametrize("kind", [WCRQuantile, GradualMagnitude])
def test_state_taken_over_goes_on_the_same(kind: type[WeightStep]) -> None:
    first, second = kind(), kind()
    parameters = kernels(torch.float32)
    first.step_(parameters, 1.0, now(0, rise=0.3))
    second.load_state(first.state())
    twins = copied(parameters)
    for weights in (*parameters.values(), *twins.values()):
        weights.mul_(1.1)
    first.step_(parameters, 1.0, now(1, rise=0.4))
    second.step_(twins, 1.0, now(1, rise=0.4))
    assert all(torch.equal(twins[name], weights) for name, weights in parameters.items())


# The quantile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.3, 3.0), (1.0, 10.0)])
def test_the_quantile_is_the_kth_smallest_magnitude(share: float, expected: float) -> None:
    signs = torch.tensor([1.0, -1.0] * 5)
    every = torch.arange(1.0, 11.0) * signs
    assert float(quantile({"a": every[:4], "b": every[4:].reshape(2, 3)}, share)) == expected
