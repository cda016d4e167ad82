import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wcr_med.pruning import exact_k, global_magnitude, lamp, layer_magnitude


@pytest.mark.parametrize("score", [global_magnitude, layer_magnitude])
def test_magnitudes(score: object) -> None:
    assert callable(score)
    found = score({"a": torch.tensor([[-2.0, 0.0], [1.0, -0.0]])})
    assert found["a"].tolist() == [[2, 0], [1, 0]]


def test_lamp_by_hand() -> None:
    found = lamp({"a": torch.tensor([[2.0, -1.0], [3.0, 0.0]]), "b": torch.tensor([-5.0])})
    assert found["a"].dtype == torch.float64
    torch.testing.assert_close(found["a"], torch.tensor([[4 / 13, 1 / 14], [1, 0]], dtype=torch.float64))
    assert found["b"].tolist() == [1]


def test_lamp_sorts_equal_weights_by_index() -> None:
    torch.testing.assert_close(lamp({"a": torch.ones(4)})["a"], torch.tensor([1 / 4, 1 / 3, 1 / 2, 1]).double())


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), scale=st.sampled_from([1e-20, 1.0, 1e20])
)
def test_lamp_orders_a_layer_as_magnitude_does_whatever_its_scale(values: list[float], scale: float) -> None:
    weights = torch.tensor(values, dtype=torch.float64)
    found = lamp({"a": weights * scale})["a"]
    assert bool(((found >= 0) & (found <= 1)).all())
    order = torch.argsort(weights.abs(), stable=True)
    assert bool((found[order].diff() >= 0).all())
    for k in range(len(values) + 1):
        by_lamp, by_magnitude = exact_k({"a": found}, k, "global")["a"], exact_k({"a": weights.abs()}, k, "global")["a"]
        # Scores may tie where magnitudes do not, by rounding; what is removed is never larger than what stays.
        if not torch.equal(by_lamp, by_magnitude):
            assert float(weights.abs()[~by_lamp].max()) <= float(weights.abs()[by_lamp].min()) * (1 + 1e-6) + 1e-6


def test_lamp_does_not_depend_on_a_layers_scale() -> None:
    weights = torch.randn(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lamp({"a": weights})["a"], lamp({"a": weights * 2**-60})["a"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("values", [[0.0] * 3, [1e-45, 1e-42, 0.0], [1e-30, 3e-30, 1e-38], [1e38, 3e38, 1.0]])
def test_lamp_of_layers_that_underflow_is_finite(values: list[float]) -> None:
    found = lamp({"a": torch.tensor(values)})["a"]
    assert bool(torch.isfinite(found).all())
    assert float(found.max()) == (1 if any(values) else 0)


def test_lamp_spares_the_last_weight_of_every_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    layers: dict[str, Tensor] = {
        name: scale * torch.randn(40, generator=generator) for name, scale in (("a", 1.0), ("b", 1e-6), ("c", 1e-30))
    }
    keep = exact_k(lamp(layers), 117, "global")
    assert [int(tensor.sum()) for tensor in keep.values()] == [1, 1, 1]


def test_an_empty_kernel_has_no_scores() -> None:
    assert lamp({"a": torch.zeros(0, 3)})["a"].shape == (0, 3)
