import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wcr_med.pruning import exact_k, n_to_prune
from wcr_med.pruning.select import Scope, n_protected

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


FLOORS = st.sampled_from([0.0, 0.001, 0.2, 0.5, 0.7])


@settings(max_examples=150, deadline=None)
@given(layers=LAYERS, share=st.floats(0, 1), floor=FLOORS, scope=st.sampled_from(["global", "layer"]))
def test_the_floor_keeps_the_highest_of_each_layer_and_k_is_exact(
    layers: list[list[float]], share: float, floor: float, scope: Scope
) -> None:
    protected = [n_protected(len(layer), floor) for layer in layers]
    k = round(share * (sum(map(len, layers)) - sum(protected)))
    keep = exact_k(named(layers), k, scope, floor=floor)
    assert sum(removed(keep)) == k
    goes = []
    for layer, keeps, least in zip(layers, keep.values(), protected, strict=True):
        stays = keeps.tolist()
        assert sum(stays) >= least
        order = np.argsort(layer, kind="stable")
        assert set(order[: stays.count(False)]) == {i for i, stay in enumerate(stays) if not stay}
        goes.append((stays.count(False), len(layer) - least, layer, stays))
    if scope == "global":  # only a layer at its floor may keep a lower score than another one loses
        highest_gone = max(
            (v for *_, layer, stays in goes for v, stay in zip(layer, stays, strict=True) if not stay), default=0
        )
        for gone, most, layer, stays in goes:
            if gone < most:
                assert min(v for v, stay in zip(layer, stays, strict=True) if stay) >= highest_gone


def test_what_a_layer_cannot_give_the_others_give_in_proportion() -> None:
    scores = {"a": torch.arange(2.0), "b": torch.arange(20.0), "c": torch.arange(40.0)}
    # Even shares of 50 would be 1.6, 16.1 and 32.3; a gives at most 1, and 49 are shared 1 to 2.
    assert removed(exact_k(scores, 50, "layer", floor=0.05)) == [1, 16, 33]
    assert removed(exact_k(scores, 58, "layer", floor=0.05)) == [1, 19, 38]


def test_equal_scores_under_a_floor_go_by_index() -> None:
    keep = exact_k({"a": torch.ones(3), "b": torch.ones(3)}, 4, "global", floor=0.1)
    assert [tensor.tolist() for tensor in keep.values()] == [[False, False, True], [False, False, True]]


@pytest.mark.parametrize(
    ("size", "floor", "n"), [(10, 0.0, 0), (0, 0.5, 0), (10, 1e-9, 1), (10, 0.11, 2), (100, 0.07, 7), (3000, 0.001, 3)]
)
def test_n_protected(size: int, floor: float, n: int) -> None:
    assert n_protected(size, floor) == n


def test_more_than_the_floor_allows() -> None:
    with pytest.raises(ValueError, match=r"k is 9, but there are 10 weights, of which a floor of 0\.2 protects 2"):
        exact_k({"a": torch.rand(10)}, 9, "global", floor=0.2)
