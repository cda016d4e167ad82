"""Surviving weights refitted towards the dense network."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.models import build_model
from wcr_med.pruning import Calibration, make_mask, prune_, reconstruct_

Make = Callable[..., Calibration]


def pruned_copy(dense: nn.Module, sparsity: float) -> nn.Module:
    pruned = copy.deepcopy(dense)
    prune_(pruned, make_mask(pruned, "lamp", sparsity, layer_floor=0.01))
    return pruned


def distance(model: nn.Module, dense: nn.Module, calibration: Calibration) -> float:
    with torch.no_grad():
        return sum(float((model(image) - dense(image)).square().mean()) for image, _ in calibration.batches())


def test_the_output_comes_nearer_and_zeros_stay(unet: nn.Module, make_calibration: Make) -> None:
    dense_before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    pruned = pruned_copy(unet, 0.6).train()
    zeros = {name: kernel == 0 for name, kernel in pruned.named_parameters() if kernel.ndim > 1}
    seen, unseen = make_calibration(20, 12), make_calibration(7, 9, 11)
    before = distance(copy.deepcopy(pruned).eval(), unet, unseen)
    record = reconstruct_(pruned, unet, seen)
    assert record["error_after"] < 0.7 * record["error_before"]
    assert (record["n_layers"], record["n_images"]) == (4, 32)
    assert distance(copy.deepcopy(pruned).eval(), unet, unseen) < 0.5 * before
    kernels = dict(pruned.named_parameters())
    assert all(torch.equal(kernels[name] == 0, where) for name, where in zeros.items())
    assert record["n_weights"] == sum(int((~where).sum()) for where in zeros.values())
    assert pruned.training
    assert all(torch.equal(tensor, dense_before[name]) for name, tensor in unet.state_dict().items())


def test_it_is_the_least_squares_solution(make_calibration: Make) -> None:
    torch.manual_seed(0)
    dense = nn.Conv2d(1, 3, 3, padding=1).eval()
    pruned = pruned_copy(dense, 0.5)
    reconstruct_(pruned, dense, make_calibration(16), positions=400, ridge=1e-9)
    images = next(iter(make_calibration(16).batches()))[0]
    patches = nn.functional.unfold(images, 3, padding=1).transpose(1, 2).reshape(-1, 9).double().numpy()
    wanted = dense(images).detach().flatten(2).transpose(1, 2).reshape(-1, 3).double().numpy()
    for channel in range(3):
        kept = pruned.weight.detach()[channel].flatten().nonzero()[:, 0].numpy()
        design = np.concatenate([patches[:, kept], np.ones((len(patches), 1))], axis=1)
        best = np.linalg.lstsq(design, wanted[:, channel], rcond=None)[0]
        found = pruned.weight.detach()[channel].flatten()[kept].numpy()
        np.testing.assert_allclose(found, best[:-1], atol=0.05)  # it sees sampled positions


def test_a_removed_copy_of_a_channel_is_made_up_for_exactly(make_calibration: Make) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 4, 3, bias=False)).eval()
    with torch.no_grad():
        dense[0].weight[1] = dense[0].weight[0]  # type: ignore[index]
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        pruned[1].weight[:, 1] = 0  # type: ignore[index]
    calibration = make_calibration(8)
    reconstruct_(pruned, dense, calibration, ridge=1e-9)
    assert distance(pruned, dense, calibration) < 1e-8


def test_a_network_that_lost_nothing_stays(unet: nn.Module, make_calibration: Make) -> None:
    same = copy.deepcopy(unet)
    record = reconstruct_(same, unet, make_calibration(16))
    assert record["error_before"] < 1e-6
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), unet.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["buda_unet", "monai_unet", "basic_unet", "smp_unet"])
def test_every_kind_of_network(name: str, make_calibration: Make) -> None:
    dense = build_model(ModelConfig(name=name, in_channels=1, features=8), seed=0).eval()  # type: ignore[arg-type]
    shape = (2, 1, 64, 64)
    images, masks = torch.randn(shape), torch.zeros(shape)
    masks[1, :, 20:30, 5:9] = 1
    calibration = replace(make_calibration(), batches=lambda: [(images, masks)])
    pruned = pruned_copy(dense, 0.95)
    record = reconstruct_(pruned, dense, calibration, positions=16)
    assert record["n_layers"] > 5
    assert record["error_after"] < record["error_before"]


def test_the_same_slices_give_the_same_network(unet: nn.Module, make_calibration: Make) -> None:
    one, other = pruned_copy(unet, 0.5), pruned_copy(unet, 0.5)
    assert reconstruct_(one, unet, make_calibration(8)) == reconstruct_(other, unet, make_calibration(8))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_no_more_slices_than_asked_for(unet: nn.Module, make_calibration: Make) -> None:
    assert reconstruct_(pruned_copy(unet, 0.5), unet, make_calibration(8, 8, 8), n_slices=12)["n_images"] == 12


@pytest.mark.parametrize(("sizes", "message"), [((), "no training slices"), ((4,), "6 gives NaN or infinity")])
def test_a_failure_leaves_the_former_weights(
    unet: nn.Module, make_calibration: Make, sizes: tuple[int, ...], message: str
) -> None:
    pruned = pruned_copy(unet, 0.5)
    with torch.no_grad():
        unet[6].weight[0, 0] = torch.nan  # type: ignore[index]
    before = {name: tensor.clone() for name, tensor in pruned.state_dict().items()}
    with pytest.raises(UserError, match=message):
        reconstruct_(pruned, unet, make_calibration(*sizes))
    assert all(torch.equal(tensor, before[name]) for name, tensor in pruned.state_dict().items())
