import copy

import pytest
import torch
from torch import nn

from wcr_med.config import Config, parse_config
from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError
from wcr_med.pruning import RETRAINED, make_mask, prune_
from wcr_med.pruning.finetune import finetune_


def config(**optimizer: object) -> Config:
    return parse_config(
        {
            "data": {"root": "nowhere"},
            "split": {"validation_patients": 1, "test_patients": 1},
            "training": {"epochs": 2, "batch_size": 4, "loader_workers": 0, "threads": 1, "precision": "fp32"},
            "augment": {"enabled": False},
            "optimizer": {"learning_rate": 0.5, **optimizer},
        },
        source="the test",
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_zeros_stay_zeros_and_the_loss_falls(unet: nn.Module, slices: SliceCache, optimizer: str) -> None:
    mask = make_mask(unet, "global_magnitude", 0.8)
    prune_(unet, mask)
    before = copy.deepcopy(unet.state_dict())
    rows = slices.rows(["a", "b"])
    settings = config(name=optimizer, learning_rate=0.5 if optimizer == "sgd" else 0.1)
    report = finetune_(unet, mask, slices, rows, settings, epochs=6)
    for row in mask.layers:
        kernel, keep = unet.get_parameter(row.name), mask.keep(row.name)
        assert not bool(kernel[~keep].any())
        assert not bool(torch.signbit(kernel[~keep]).any())
        assert not torch.equal(kernel, before[row.name])
    assert report["losses"][-1] < report["losses"][0]
    assert (report["label"], report["epochs"], report["n_steps"]) == (RETRAINED, 6, 18)
    assert not unet.training
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_the_seed_decides(unet: nn.Module, slices: SliceCache) -> None:
    mask, again = make_mask(unet, "global_magnitude", 0.5), copy.deepcopy(unet)
    for model in (unet, again):
        finetune_(model, mask, slices, slices.rows(["a"]), config(), epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), again.parameters(), strict=True))


def test_a_loss_that_is_not_finite(unet: nn.Module, slices: SliceCache) -> None:
    with torch.no_grad():
        unet[7].weight.fill_(torch.nan)
    mask = make_mask(copy.deepcopy(unet[:7]), "global_magnitude", 0.0)
    with pytest.raises(ValueError, match="nothing for kernel"):
        finetune_(unet, mask, slices, slices.rows(["a"]), config(), epochs=1)
    with torch.no_grad():
        unet[7].weight.fill_(1)
        unet[4].bias.fill_(torch.inf)
    mask = make_mask(unet, "global_magnitude", 0.5)
    with pytest.raises(UserError, match=r"pruning\.finetune_epochs: the loss is nan in epoch 1"):
        finetune_(unet, mask, slices, slices.rows(["a"]), config(), epochs=1)
