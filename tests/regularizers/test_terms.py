import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wcr_med.regularizers import EPSILON, L1, SMOOTHING, WCR, Hoyer, HoyerSquare, LossTerm

ALL = pytest.mark.parametrize(
    "regularizer", [WCR(), L1(), Hoyer(), HoyerSquare()], ids=lambda regularizer: regularizer.name
)


def kernels(dtype: torch.dtype = torch.float64, scale: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv": (5, 3, 3, 3), "up": (4, 2, 2, 2), "linear": (7, 2)}
    return {
        name: (scale * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_()
        for name, shape in shapes.items()
    }


def reference(regularizer: LossTerm, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(regularizer.penalty(parameters), list(parameters.values()))
    return dict(zip(parameters, gradients, strict=True))


def fast(regularizer: LossTerm, parameters: dict[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    for weights in parameters.values():
        weights.grad = None
    regularizer.add_gradient_(parameters, strength)
    return {name: weights.grad for name, weights in parameters.items() if weights.grad is not None}


def one(values: object, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {"w": torch.tensor(values, dtype=dtype, requires_grad=True)}


# Analytic values


def test_wcr_of_two_weights() -> None:
    first, second = math.sqrt(0.3**2 + SMOOTHING), math.sqrt(0.1**2 + SMOOTHING)
    expected = 1 / (((first - second) / 2) ** 2 + EPSILON)
    assert float(WCR().penalty(one([-0.3, 0.1])).detach()) == pytest.approx(expected, rel=1e-12)


def test_wcr_has_the_published_gradient() -> None:
    parameters = kernels()
    for name, gradient in fast(WCR(), parameters).items():
        w = parameters[name].detach()
        m = (w**2 + 1e-8).sqrt()
        expected = -(2 / w.numel()) * (m - m.mean()) * (w / m) / (m.var(correction=0) + 1e-8) ** 2
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=0)


def test_a_wcr_step_grows_the_large_and_shrinks_the_small() -> None:
    parameters = one([-1.0, 0.9, 0.1, -0.2])
    step = -fast(WCR(), parameters)["w"]
    assert (step * parameters["w"].detach().sign() > 0).tolist() == [True, True, False, False]


def test_wcr_at_he_initialisation_is_about_1_4_fan_in() -> None:
    kernel = torch.empty(256, 256, 3, 3)
    torch.nn.init.kaiming_normal_(kernel, nonlinearity="relu", generator=torch.Generator().manual_seed(0))
    assert WCR().terms({"w": kernel})["w"] == pytest.approx(256 * 9 / 2 / (1 - 2 / math.pi), rel=0.02)


def test_l1_is_the_sum_of_magnitudes() -> None:
    parameters = one([[1.0, -2.0], [0.0, 3.0]])
    assert float(L1().penalty(parameters).detach()) == 6
    assert fast(L1(), parameters, 0.5)["w"].tolist() == [[0.5, -0.5], [0.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, -3.0, 0.0], 1), ([2.0, -2.0, 2.0, 2.0], 4), ([3.0, 4.0], 49 / 25)]
)
def test_hoyer_square_counts_weights(values: list[float], expected: float) -> None:
    assert float(HoyerSquare().penalty(one(values)).detach()) == pytest.approx(expected, rel=1e-12)


# The two forms


@ALL
@pytest.mark.parametrize("scale", [1e-3, 0.05, 2.0])
def test_reference_and_fast_gradients_agree(regularizer: LossTerm, scale: float) -> None:
    parameters = kernels(scale=scale)
    expected, found = reference(regularizer, parameters), fast(regularizer, parameters)
    for name in parameters:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-12)


@ALL
def test_reference_gradient_agrees_with_differences(regularizer: LossTerm) -> None:
    parameters = kernels()
    names = list(parameters)
    assert torch.autograd.gradcheck(
        lambda *values: regularizer.penalty(dict(zip(names, values, strict=True))), tuple(parameters.values())
    )


@ALL
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(0.01, 3).flatmap(lambda v: st.sampled_from([v, -v])), min_size=2, max_size=12))
def test_fast_gradient_agrees_with_differences(regularizer: LossTerm, values: list[float]) -> None:
    parameters = one(values)
    weights = parameters["w"]
    gradient = fast(regularizer, parameters)["w"]
    # Central differences fail where WCR is a spike: magnitudes that are all but equal.
    if regularizer.name == "wcr" and float(weights.detach().abs().var(correction=0)) < 1e-3:
        return
    step = 1e-6
    for i in range(len(values)):
        move = torch.zeros_like(weights)
        move[i] = step
        above, below = (regularizer.penalty({"w": weights.detach() + sign * move}) for sign in (1, -1))
        slope = float(above - below) / (2 * step)
        assert float(gradient[i]) == pytest.approx(slope, rel=1e-4, abs=1e-5 * (1 + float(gradient.abs().max())))


@ALL
def test_single_precision_is_good_enough_on_a_wide_layer(regularizer: LossTerm) -> None:
    weights = 0.02 * torch.randn(256, 128, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = {"w": weights.clone().requires_grad_()}
    single = {"w": weights.float().to(memory_format=torch.channels_last).requires_grad_()}
    gradient, expected = fast(regularizer, single)["w"].double(), fast(regularizer, exact)["w"]
    assert float((gradient - expected).abs().max() / expected.abs().max()) < 1e-5
    value, truth = sum(regularizer.terms(single).values()), sum(regularizer.terms(exact).values())
    assert value == pytest.approx(truth, rel=1e-5)


@ALL
def test_terms_sum_to_the_penalty(regularizer: LossTerm) -> None:
    parameters = kernels()
    terms = regularizer.terms(parameters)
    assert list(terms) == list(parameters)
    assert sum(terms.values()) == pytest.approx(float(regularizer.penalty(parameters).detach()), rel=1e-12)


# How the gradient is added


@ALL
def test_the_gradient_is_added_scaled_and_the_weights_stay(regularizer: LossTerm) -> None:
    parameters = kernels()
    before = {name: weights.detach().clone() for name, weights in parameters.items()}
    alone = fast(regularizer, parameters)
    for weights in parameters.values():
        weights.grad = torch.full_like(weights, 7)
    regularizer.add_gradient_(parameters, 0.25)
    for name, weights in parameters.items():
        assert weights.grad is not None
        torch.testing.assert_close(weights.grad, 7 + 0.25 * alone[name], rtol=1e-12, atol=1e-12)
        assert torch.equal(weights.detach(), before[name])


@ALL
def test_frozen_parameters_and_strength_zero_are_left_alone(regularizer: LossTerm) -> None:
    parameters = kernels()
    parameters["conv"].requires_grad_(False)
    assert list(fast(regularizer, parameters)) == ["up", "linear"]
    assert fast(regularizer, parameters, 0.0) == {}


@ALL
def test_no_parameters(regularizer: LossTerm) -> None:
    assert float(regularizer.penalty({})) == 0
    assert regularizer.terms({}) == {}
    regularizer.add_gradient_({}, 1.0)


@ALL
def test_all_layers_in_one_call_and_layer_by_layer_are_the_same(regularizer: LossTerm) -> None:
    parameters = kernels()
    expected = fast(regularizer, parameters)
    together = [torch.zeros_like(weights) for weights in parameters.values()]
    regularizer._add_gradient_([weights.detach() for weights in parameters.values()], together, 1.0)
    assert all(torch.equal(found, gradient) for found, gradient in zip(together, expected.values(), strict=True))


# Edge cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [[0.3], [0.1] * 7, [-0.1, 0.1, 0.1], [0.0] * 5, [1e-30, -1e-30, 0.0]])
def test_wcr_without_variance_is_one_over_epsilon_with_no_gradient(values: list[float], dtype: torch.dtype) -> None:
    parameters = one(values, dtype)
    assert float(WCR().penalty(parameters).detach()) == pytest.approx(1 / EPSILON, rel=1e-6)
    assert not bool(fast(WCR(), parameters)["w"].any())
    assert not bool(reference(WCR(), parameters)["w"].any())


@ALL
@pytest.mark.parametrize("values", [[0.0, 0.0], [0.0, 1.0, -1e-12], [1e-20, -2e-20], [1e15, 1.0], [1e-42, 1e-44]])
def test_extreme_weights_give_finite_values_in_agreement(regularizer: LossTerm, values: list[float]) -> None:
    parameters = one(values, torch.float32)
    expected, found = reference(regularizer, parameters)["w"], fast(regularizer, parameters)["w"]
    assert bool(torch.isfinite(regularizer.penalty(parameters)))
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("regularizer", [Hoyer(), HoyerSquare()], ids=["hoyer", "hoyer_square"])
def test_hoyer_of_zeros_is_zero_with_no_gradient(regularizer: LossTerm) -> None:
    parameters = one([0.0, 0.0, 0.0])
    assert float(regularizer.penalty(parameters).detach()) == 0
    assert fast(regularizer, parameters)["w"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, -3.0, 0.0], 1), ([2.0, -2.0, 2.0, 2.0], 2), ([3.0, 4.0], 7 / 5)]
)
def test_hoyer_is_the_ratio_of_two_norms(values: list[float], expected: float) -> None:
    assert float(Hoyer().penalty(one(values)).detach()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [1e-18, 1e18])
def test_hoyer_square_does_not_depend_on_scale(factor: float) -> None:
    small = one([0.3 * factor, -0.1 * factor, 0.2 * factor], torch.float32)
    assert float(HoyerSquare().penalty(small).detach()) == pytest.approx(0.36 / 0.14, rel=1e-5)
    # Scale invariance: the gradient has no radial part.
    assert abs(float((fast(HoyerSquare(), small)["w"] * small["w"].detach()).sum())) < 1e-5
