"""Parameter groups, single steps against their formulas, and the learning rate of every step."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wcr_med.config import OptimizerConfig
from wcr_med.optimizers import build_optimizer, learning_rate, set_learning_rate


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.ConvTranspose2d(3, 1, 2))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_acts_on_kernels_alone_and_no_parameter_is_forgotten(name: str) -> None:
    model = _network()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.1))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    kept = [p for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]]
    assert {id(p) for p in decayed} == {id(model[0].weight), id(model[3].weight)}
    assert {id(p) for p in decayed + kept} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_gradient_only_decayed_weights_move(name: str) -> None:
    model = _network()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimizer = build_optimizer(model, OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if parameter.ndim > 1 else 1
        torch.testing.assert_close(parameter.detach(), factor * before[key])


def test_sgd_has_momentum() -> None:
    weight = nn.Linear(1, 1, bias=False)
    optimizer = build_optimizer(weight, OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.0))
    start = weight.weight.item()
    for _ in range(2):
        weight.weight.grad = torch.ones(1, 1)
        optimizer.step()
    assert weight.weight.item() == pytest.approx(start - 0.1 * 1 - 0.1 * 1.5)


def test_frozen_parameters_are_left_out() -> None:
    model = _network()
    model[1].requires_grad_(requires_grad=False)
    optimizer = build_optimizer(model, OptimizerConfig())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_set_learning_rate_reaches_every_group() -> None:
    optimizer = build_optimizer(_network(), OptimizerConfig())
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


def test_learning_rate_at_the_marks() -> None:
    rates = [learning_rate(step, 12, 4, 2.0) for step in range(12)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[8] == pytest.approx(1.0)  # half way down
    assert rates[11] == pytest.approx(1 + math.cos(7 * math.pi / 8))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(0, 400), st.floats(1e-6, 10))
def test_learning_rate_is_positive_bounded_and_has_one_hill(total: int, warmup: int, peak: float) -> None:
    rates = [learning_rate(step, total, warmup, peak) for step in range(total)]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    rising = [after >= before for before, after in itertools.pairwise(rates)]
    top = min(warmup, total)
    assert all(rising[: max(top - 1, 0)])
    assert not any(after > before for before, after in itertools.pairwise(rates[top:]))


@pytest.mark.parametrize(("step", "warmup"), [(-1, 0), (10, 0), (3, -1)])
def test_learning_rate_outside_the_training_is_refused(step: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        learning_rate(step, 10, warmup, 1.0)


@pytest.mark.parametrize("config", [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}])
def test_fused_steps_are_those_of_the_plain_form_whatever_the_layout_of_a_gradient(config: dict[str, object]) -> None:
    settings_ = OptimizerConfig.model_validate({**config, "learning_rate": 0.1, "weight_decay": 0.01})
    model, plain = (nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last) for _ in range(2))
    plain.load_state_dict(model.state_dict())
    optimizer = build_optimizer(model, settings_)
    groups = [
        {"params": [plain.weight], "weight_decay": 0.01},
        {"params": [plain.bias], "weight_decay": 0.0},
    ]
    reference: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=0.1, momentum=0.9, foreach=False)
        if config["name"] == "sgd"
        else torch.optim.AdamW(groups, lr=0.1, foreach=False)
    )
    for step in range(4):
        for own, other in zip(model.parameters(), plain.parameters(), strict=True):
            gradient = torch.randn(own.shape, generator=torch.Generator().manual_seed(step))  # row-major
            own.grad, other.grad = gradient.clone(), torch.empty_like(other).copy_(gradient)
        optimizer.step()
        reference.step()
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, other)
