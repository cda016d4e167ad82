import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.pruning import Calibration, make_mask, match_variance_, prune_
from wcr_med.pruning.layers import channel_values, scale_channels_


def figures(model: nn.Module, image_NChw: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and spread of every channel behind every layer that has a kernel."""
    seen = {}

    def note(name: str, module: nn.Conv2d, output: Tensor) -> None:
        spread, mean = torch.std_mean(channel_values(module, output).double(), dim=(0, 2), correction=0)
        seen[name] = (mean, spread)

    handles = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: note(name, module, output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    with torch.no_grad():
        model.eval()(image_NChw)
    for handle in handles:
        handle.remove()
    return seen


def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    model = copy.deepcopy(model)
    prune_(model, make_mask(model, "global_magnitude", sparsity, layer_floor=0.2))
    return model


def images(calibration: Calibration) -> list[Tensor]:
    return [image_NChw for image_NChw, _ in calibration.batches()]


def test_mean_and_spread_come_back_on_the_calibration_batch(
    unet: nn.Module, make_calibration: Callable[..., Calibration]
) -> None:
    calibration = make_calibration(6)
    (image_NChw,) = images(calibration)
    model = pruned(unet, 0.7)
    unet[1].running_mean += 0.3
    model[1].running_mean += 0.3
    wanted, before = figures(unet, image_NChw), figures(model, image_NChw)
    report = match_variance_(model, unet, [image_NChw])
    found = figures(model, image_NChw)
    for name in wanted:
        alive = (before[name][1] > 0) & (found[name][1] > 0)
        torch.testing.assert_close(found[name][1][alive], wanted[name][1][alive], rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(before[name][1], wanted[name][1], rtol=0.05) for name in wanted)
    for name in ("4", "6"):  # these have a bias
        torch.testing.assert_close(found[name][0], wanted[name][0], rtol=1e-4, atol=1e-5)
    # The first has none, but a batch norm reads it; the last has neither.
    offset = (found["0"][0] - model[1].running_mean) - (wanted["0"][0] - unet[1].running_mean)
    assert float(offset.abs().max()) < 1e-4
    assert (report["n_layers"], report["n_channels"], report["n_without_offset"]) == (4, 33, 1)
    assert report["n_images"] == 6


def test_kernel_zeros_stay_and_no_others_come(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    model = pruned(unet, 0.75)
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters() if "weight" in name}
    match_variance_(model, unet, images(make_calibration(3, 2)))
    for name, parameter in model.named_parameters():
        if name in zeros:
            assert torch.equal(parameter == 0, zeros[name])


def test_an_unpruned_network_stays_as_it_is(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    model = copy.deepcopy(unet)
    report = match_variance_(model, unet, images(make_calibration(3, 2)))
    assert report["largest_scale"] == pytest.approx(1)
    for mine, theirs in zip(model.state_dict().values(), unet.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_dead_channel_gets_its_mean_back_and_keeps_its_kernel() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(1, 2, 3))
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[0].weight[0] = 0
    image_NChw = torch.randn(4, 1, 8, 8)
    report = match_variance_(model, dense, [image_NChw])
    assert report["n_dead"] == 1
    assert not bool(model[0].weight[0].any())
    torch.testing.assert_close(figures(model, image_NChw)["0"][0], figures(dense, image_NChw)["0"][0])


def test_a_channel_that_is_constant_in_the_dense_network_is_not_silenced() -> None:
    dense, model = nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Sequential(nn.Conv2d(1, 1, 1))
    with torch.no_grad():
        dense[0].weight.zero_()
    before = model[0].weight.detach().clone()
    assert match_variance_(model, dense, [torch.randn(2, 1, 4, 4)])["n_dead"] == 1
    assert torch.equal(model[0].weight, before)


def test_several_batches_count_as_one(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    batches = images(make_calibration(4, 2))
    model = pruned(nn.Sequential(unet[0]), 0.6)
    dense = nn.Sequential(unet[0])
    match_variance_(model, dense, batches)
    together = torch.cat(batches)
    found, wanted = figures(model, together)["0"][1], figures(dense, together)["0"][1]
    alive = found > 0
    torch.testing.assert_close(found[alive], wanted[alive], rtol=1e-5, atol=1e-6)


def test_a_kernel_that_is_used_twice_is_left_alone() -> None:
    shared = nn.Conv2d(2, 2, 1)
    dense = nn.Sequential(shared, nn.ReLU(), shared)
    model = pruned(dense, 0.5)
    before = model[0].weight.detach().clone()
    assert match_variance_(model, dense, [torch.randn(2, 2, 4, 4)])["n_layers"] == 0
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8)),
        (nn.ConvTranspose2d(4, 6, 2, groups=2), (2, 4, 8, 8)),
        (nn.ConvTranspose2d(4, 6, 2).to(memory_format=torch.channels_last), (2, 4, 8, 8)),
        (nn.Linear(4, 6), (2, 5, 4)),
    ],
)
def test_a_factor_reaches_its_channel(layer: nn.Conv2d, shape: tuple[int, ...]) -> None:
    layer.bias = None
    image, scale_C = torch.randn(shape), torch.arange(1, 7.0)
    before = channel_values(layer, layer(image))
    scale_channels_(layer, scale_C)
    torch.testing.assert_close(channel_values(layer, layer(image)), before * scale_C[:, None])


@pytest.mark.parametrize(
    ("batches", "message"), [([], "no training slices"), ([torch.full((1, 1, 16, 16), torch.nan)], "NaN")]
)
def test_a_failure_changes_nothing(unet: nn.Module, batches: list[Tensor], message: str) -> None:
    model = pruned(unet, 0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        match_variance_(model, unet, batches)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
