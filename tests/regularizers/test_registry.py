from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor

from wcr_med.config import RegularizerConfig
from wcr_med.errors import UserError
from wcr_med.regularizers import (
    LossTerm,
    build_regularizer,
    register_regularizer,
    registry,
    regularizer_class,
    regularizer_names,
    resolved,
    strength_and_schedule,
)


class Ridge(LossTerm):
    name = "ridge"
    label = "sum of squares"
    default_strength = 1e-3
    strength_range = (1e-4, 1e-2)

    def term(self, weights: Tensor) -> Tensor:
        return weights.square().sum()


@pytest.mark.parametrize("name", regularizer_names())
def test_every_name_builds_with_its_own_defaults(name: str) -> None:
    config = RegularizerConfig(name=name)
    built = build_regularizer(config)
    assert built is not None
    assert built.name == name
    kind = regularizer_class(name)
    assert strength_and_schedule(config) == (kind.default_strength, kind.default_schedule)
    low, high = kind.strength_range
    assert 0 < low <= kind.default_strength <= high <= kind.largest_strength


def test_none_builds_none_and_is_not_listed() -> None:
    assert build_regularizer(RegularizerConfig(name="none")) is None
    assert "none" not in regularizer_names()
    assert resolved(RegularizerConfig(name="none"))["strength"] == 0


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"regularizer\.name: 'wcr_quantil' .* did you mean wcr_quantile\?"):
        build_regularizer(RegularizerConfig(name="wcr_quantil"))


def test_a_strength_beyond_the_method_is_refused() -> None:
    with pytest.raises(UserError, match=r"regularizer\.strength is 1\.5: wcr_quantile takes at most 1 "):
        build_regularizer(RegularizerConfig(name="wcr_quantile", strength=1.5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "gradual_magnitude", "strength": 0.3}, r"strength is 0\.3, but gradual_magnitude has none"),
        ({"name": "wcr", "cost_weight": 0.5}, r"cost_weight is 0\.5, but wcr does not use it"),
        ({"name": "gradual_magnitude", "keep_norm": 1.0}, "keep_norm is 1, but gradual_magnitude does not use it"),
    ],
)
def test_what_a_method_does_not_use_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_regularizer(RegularizerConfig(**fields))


def test_the_resolved_section_has_no_null() -> None:
    section = resolved(RegularizerConfig(name="wcr_tangential"))
    assert section["strength"] == 0.1
    assert section["schedule"] == {"start": 0.0, "ramp": 0.0, "settle": 0.0}


@pytest.mark.usefixtures("own_regularizers")
def test_a_new_one_needs_a_term_and_a_name() -> None:
    register_regularizer(Ridge)
    assert regularizer_names()[-1] == "ridge"
    built = build_regularizer(RegularizerConfig(name="ridge"))
    assert built is not None
    weights = torch.tensor([1.0, -2.0], requires_grad=True)
    built.add_gradient_({"w": weights}, 0.5)
    assert weights.grad is not None
    assert weights.grad.tolist() == [1.0, -2.0]


@pytest.mark.usefixtures("own_regularizers")
def test_an_installed_package_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="ridge", value=f"{__name__}:Ridge", group=registry.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Ridge)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])
    assert regularizer_class("ridge") is Ridge


@pytest.mark.usefixtures("own_regularizers")
def test_a_second_class_of_the_same_name_is_refused() -> None:
    register_regularizer(register_regularizer(Ridge))  # the same one twice is harmless
    with pytest.raises(ValueError, match="'ridge' exists already"):
        register_regularizer(type("Other", (Ridge,), {}))


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="class attribute name"):
        register_regularizer(type("Nameless", (LossTerm,), {}))
