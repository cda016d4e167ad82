"""Compiled passes: another way to the same numbers, and a way back where there is none."""

import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from wcr_med.models import build_model
from wcr_med.training.compiled import compiled

_Backend = Callable[..., Any]


def _model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1)).train()


def _pass(model: nn.Module, n_slices: int = 2) -> torch.Tensor:
    model.zero_grad()
    images = torch.randn(n_slices, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = model(images).square().mean()
    loss.backward()
    return loss.detach()


def _refuses(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no compiler here\nand a long story")


def _gives(function: Callable[..., Any]) -> _Backend:
    return lambda graph, inputs: function(graph)


@pytest.fixture(autouse=True)
def _forget_compiled() -> None:
    torch.compiler.reset()


def _same_as_plain(backend: _Backend | str, model: nn.Module) -> None:
    torch.manual_seed(0)
    plain = _model()
    plain.load_state_dict(model.state_dict())
    names = list(model.state_dict())
    with compiled(model, wanted=True, backend=backend):
        for n_slices in (2, 2, 1, 2):
            torch.testing.assert_close(_pass(model, n_slices), _pass(plain, n_slices))
            for own, other in zip(model.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(own.grad, other.grad)
        # Batch norms have seen each batch once: what was only a trial has left nothing.
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, plain.state_dict()[name])
        assert list(model.state_dict()) == names
    assert "forward" not in vars(model)
    pickle.dumps(model)


def test_compiled_passes_are_the_plain_ones() -> None:
    used = []

    def count(graph: torch.fx.GraphModule) -> Callable[..., Any]:
        def run(*inputs: torch.Tensor) -> Any:
            used.append(len(inputs))
            return graph(*inputs)

        return run

    _same_as_plain(_gives(count), _model())
    assert used


def test_a_compiler_that_fails_is_told_in_one_line_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _same_as_plain(_refuses, _model())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "training.compile: the compiler failed" in caplog.text
    assert "a long story" not in caplog.text


def test_a_failure_in_the_backward_pass_is_seen_before_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("only backward")

    def backend(graph: torch.fx.GraphModule) -> Callable[..., Any]:
        return lambda *inputs: tuple(Fails.apply(output) for output in graph(*inputs))

    with caplog.at_level(logging.WARNING):
        _same_as_plain(_gives(backend), _model())
    assert "only backward" in caplog.text


def test_out_of_memory_is_not_the_compilers_fault() -> None:
    def full(graph: torch.fx.GraphModule) -> Callable[..., Any]:
        def run(*inputs: torch.Tensor) -> Any:
            raise torch.OutOfMemoryError("full")

        return run

    model = _model()
    with compiled(model, wanted=True, backend=_gives(full)), pytest.raises(torch.OutOfMemoryError):
        _pass(model)
    assert "forward" not in vars(model)


def test_evaluation_and_unwanted_compiling_leave_the_model_alone() -> None:
    model = _model()
    with compiled(model, wanted=False, backend=_refuses):
        assert "forward" not in vars(model)
    with compiled(model.eval(), wanted=True, backend=_refuses), torch.inference_mode():
        model(torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
def test_the_real_compiler_trains_the_unet() -> None:
    from wcr_med.config import ModelConfig

    model, plain = (build_model(ModelConfig(features=2), seed=0).train() for _ in range(2))
    images = torch.randn(2, 3, 32, 32)
    with compiled(model, wanted=True):
        for network in (model, plain):
            network(images).square().mean().backward()
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-5)
