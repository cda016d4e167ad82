import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wcr_med.pruning import exact_k, n_to_prune
from wcr_med.pruning.select import Scope

# Few different values, so that ties are the rule.
LAYERS = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=0, max_size=9), min_size=1, max_size=5)


def named(layers: list[list[float]]) -> dict[str, Tensor]:
    return {f"layer{i}": torch.tensor(layer, dtype=torch.float64) for i, layer in enumerate(layers)}


def removed(keep: dict[str, Tensor]) -> list[int]:
    return [int((~tensor).sum()) for tensor in keep.values()]


@settings(max_examples=150, deadline=None)
@given(layers=LAYERS, share=st.floats(0, 1), scope=st.sampled_from(["global", "layer"]))
def test_removes_exactly_k_and_the_lowest(layers: list[list[float]], share: float, scope: Scope) -> None:
    n = sum(map(len, layers))
    k = n_to_prune(share, n)
    keep = exact_k(named(layers), k, scope)
    assert sum(removed(keep)) == k
    groups = [layers] if scope == "global" else [[layer] for layer in layers]
    kept = [tensor.tolist() for tensor in keep.values()]
    kept_groups = [kept] if scope == "global" else [[layer] for layer in kept]
    for group, keeps in zip(groups, kept_groups, strict=True):
        flat = [value for layer in group for value in layer]
        stays = [value for layer in keeps for value in layer]
        order = np.argsort(flat, kind="stable")  # the definition: by score, then layer, then index
        assert set(order[: stays.count(False)]) == {i for i, stay in enumerate(stays) if not stay}


@settings(max_examples=100, deadline=None)
@given(layers=LAYERS, share=st.floats(0, 1))
def test_layers_get_their_share_to_within_one(layers: list[list[float]], share: float) -> None:
    n = sum(map(len, layers))
    k = n_to_prune(share, n)
    for layer, count in zip(layers, removed(exact_k(named(layers), k, "layer")), strict=True):
        assert count <= len(layer)
        assert abs(count - k * len(layer) / max(n, 1)) < 1


def test_half_of_equal_weights_is_half() -> None:
    scores = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    keep = exact_k(scores, 5, "global")
    assert keep["a"].tolist() == [[False, False, False], [False, False, True]]
    assert keep["b"].tolist() == [True, True, True, True]


def test_odd_remainders_go_to_the_first_layers() -> None:
    assert removed(exact_k({name: torch.arange(3.0) for name in "abc"}, 4, "layer")) == [2, 1, 1]


def test_shape_order_and_dtype() -> None:
    keep = exact_k({"z": torch.rand(2, 3, 1, 1), "a": torch.rand(4)}, 3, "layer")
    assert list(keep) == ["z", "a"]
    assert keep["z"].shape == (2, 3, 1, 1)
    assert keep["z"].dtype == torch.bool


def test_a_channels_last_kernel_has_the_indices_of_its_values() -> None:
    scores = torch.arange(16.0).reshape(2, 2, 2, 2)
    assert torch.equal(
        exact_k({"a": scores.to(memory_format=torch.channels_last)}, 5, "global")["a"],
        exact_k({"a": scores}, 5, "global")["a"],
    )


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_all_none_and_nothing_at_all(scope: Scope) -> None:
    scores = {"a": torch.rand(3), "b": torch.rand(2)}
    assert removed(exact_k(scores, 5, scope)) == [3, 2]
    assert removed(exact_k(scores, 0, scope)) == [0, 0]
    assert exact_k({}, 0, scope) == {}


@pytest.mark.parametrize("k", [-1, 6])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(ValueError, match="there are 5 weights"):
        exact_k({"a": torch.rand(5)}, k, "global")


def test_nan_is_named() -> None:
    with pytest.raises(ValueError, match="the scores of b hold NaN"):
        exact_k({"a": torch.rand(5), "b": torch.tensor([torch.nan])}, 1, "global")


@pytest.mark.parametrize(("sparsity", "n", "k"), [(0.9, 7_756_672, 6_981_005), (0.5, 5, 2), (0.5, 7, 4), (0.0, 9, 0)])
def test_n_to_prune_rounds_halves_to_even(sparsity: float, n: int, k: int) -> None:
    assert n_to_prune(sparsity, n) == k
