import json

import pytest
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning import make_mask, prune_


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 10, 3), nn.Conv2d(10, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1, 91.0).reshape(10, 1, 3, 3))
        model[1].weight.copy_(-torch.arange(1, 11.0).reshape(1, 10, 1, 1) / 100)
    return model


def test_global_takes_from_the_smallest_layer_and_layerwise_from_all(model: nn.Module) -> None:
    assert [row.n_kept for row in make_mask(model, "global_magnitude", 0.1).layers] == [90, 0]
    assert [row.n_kept for row in make_mask(model, "layer_magnitude", 0.1).layers] == [81, 9]
    assert all(row.n_kept > 0 for row in make_mask(model, "lamp", 0.98).layers)


def test_making_a_mask_changes_nothing(model: nn.Module) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    make_mask(model, "lamp", 0.5)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_the_result_names_both_denominators(model: nn.Module) -> None:
    result = prune_(model, make_mask(model, "global_magnitude", 0.5))
    document = result.to_dict()
    json.dumps(document, allow_nan=False)
    assert result.n_removed == 50
    assert document["sparsity_prunable"] == 0.5
    assert document["sparsity_all"] == 50 / 111
    assert [(row["n"], row["n_zero"]) for row in document["layers"]] == [(90, 40), (10, 10)]


def test_zeros_that_were_there_are_removed_first_and_counted_once(model: nn.Module) -> None:
    with torch.no_grad():
        model[0].weight[5:] = 0
    result = prune_(model, make_mask(model, "global_magnitude", 0.2))
    assert result.n_removed == 20
    assert result.report.n_prunable_zero == 45


def test_pruning_again_with_the_same_mask_changes_nothing(model: nn.Module) -> None:
    mask = make_mask(model, "lamp", 0.7)
    assert prune_(model, mask) == prune_(model, mask)
    assert make_mask(model, "global_magnitude", 0.7) == mask or make_mask(model, "lamp", 0.7) == mask


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_outside_the_range(model: nn.Module, sparsity: float) -> None:
    with pytest.raises(UserError, match=r"pruning\.sparsity is .*at least 0 and below 1"):
        make_mask(model, "lamp", sparsity)


def test_an_unknown_score_is_answered_with_the_nearest(model: nn.Module) -> None:
    with pytest.raises(UserError, match=r"'global_magnitud' is not a score; did you mean global_magnitude\?"):
        make_mask(model, "global_magnitud", 0.5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        model[1].weight[0, 3] = value
    with pytest.raises(UserError, match=r"1\.weight holds NaN or infinity"):
        make_mask(model, "global_magnitude", 0.5)


def test_a_network_without_kernels() -> None:
    result = prune_(nn.ReLU(), make_mask(nn.ReLU(), "lamp", 0.5))
    assert (result.n_removed, result.report.sparsity_prunable) == (0, 0.0)


@pytest.mark.parametrize("score", ["global_magnitude", "layer_magnitude", "lamp"])
def test_a_floor_keeps_every_layer_alive_and_the_count_exact(model: nn.Module, score: str) -> None:
    for sparsity in (0.1, 0.5, 0.87):
        mask = make_mask(model, score, sparsity, layer_floor=0.12)
        assert mask.n - mask.n_kept == round(100 * sparsity)
        assert all(row.n_kept >= least for row, least in zip(mask.layers, (11, 2), strict=True))


def test_a_floor_that_is_too_high_names_the_largest_sparsity(model: nn.Module) -> None:
    with pytest.raises(
        UserError,
        match=r"pruning\.sparsity is 0\.95, but with pruning\.layer_floor 0\.12 at most 0\.87 is possible",
    ):
        make_mask(model, "lamp", 0.95, layer_floor=0.12)
    with pytest.raises(UserError, match=r"pruning\.layer_floor is 1: give a share"):
        make_mask(model, "lamp", 0.5, layer_floor=1)
