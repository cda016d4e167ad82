from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from wcr_med.config import LossConfig
from wcr_med.errors import UserError
from wcr_med.losses import build_loss
from wcr_med.pruning import Calibration, fisher, make_mask, measure, squared_gradients


def mean_squares(logits_N1hw: Tensor, mask_N1hw: Tensor) -> Tensor:
    return (logits_N1hw - mask_N1hw).square().mean()


def by_hand(image_NChw: Tensor, mask_N1hw: Tensor, weight_C: Tensor) -> Tensor:
    """For a 1x1 convolution z = w . x and the loss mean (z - t)^2: d loss / d w_c = mean 2 (z - t) x_c."""
    logits_N1hw = (image_NChw * weight_C.view(1, -1, 1, 1)).sum(1, keepdim=True)
    gradient_NC = (2 * (logits_N1hw - mask_N1hw) * image_NChw).mean((2, 3))
    return gradient_NC.square().mean(0)


def test_it_is_the_mean_of_squares_over_slices_not_the_square_of_a_mean() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 1, bias=False).double()
    batches = [(torch.randn(n, 3, 4, 4).double(), torch.randn(n, 1, 4, 4).double()) for n in (4, 1)]
    loss = lambda logits, masks: mean_squares(logits.double(), masks)  # noqa: E731 - one line
    found = squared_gradients(model, Calibration(batches=lambda: batches, loss_of=loss))["weight"]
    images, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    wanted = by_hand(images, masks, model.weight.detach().flatten())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.flatten(), wanted, rtol=1e-5, atol=0)  # logits pass through float32
    scores = fisher({"weight": model.weight}, {"weight": found})["weight"].flatten()
    torch.testing.assert_close(scores, model.weight.detach().flatten().square() * wanted, rtol=1e-5, atol=0)


def test_normalisation_is_as_in_evaluation_and_the_network_is_left_alone(
    unet: nn.Module, make_calibration: Callable[..., Calibration]
) -> None:
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    unet[0].weight.requires_grad_(False)
    evaluated = squared_gradients(unet.eval(), make_calibration(3))
    trained = squared_gradients(unet.train(), make_calibration(3))
    assert all(torch.equal(evaluated[name], trained[name]) for name in evaluated)
    assert bool(evaluated["0.weight"].any())
    assert unet.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    assert [kernel.requires_grad for kernel in (unet[0].weight, unet[4].weight)] == [False, True]
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_the_size_of_batches_does_not_matter_to_a_mean_over_slices(
    unet: nn.Module, make_calibration: Callable[..., Calibration]
) -> None:
    whole = make_calibration(4)
    ((images, masks),) = whole.batches()
    by_slice = build_loss(LossConfig(dice_over="slice"))
    whole = replace(whole, loss_of=by_slice)
    parts = replace(whole, batches=lambda: zip(images.split(3), masks.split(3), strict=True))
    for one, other in zip(
        squared_gradients(unet, whole).values(), squared_gradients(unet, parts).values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


def test_of_a_loss_over_the_batch_each_slice_has_its_part() -> None:
    model = nn.Conv2d(1, 1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2)
    images = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    calibration = Calibration(batches=lambda: [(images, images)], loss_of=lambda logits, _: logits.sum().square())
    # L = (z_1 + z_2)^2 with z_n = 2 x_n: dL/dz_n = 2 (2 + 6) = 16, so the parts are 2 * 16 * x_n = 32 and 96.
    found = squared_gradients(model, calibration)["weight"]
    assert float(found) == pytest.approx((32**2 + 96**2) / 2)


def test_fisher_ranks_by_what_the_loss_feels(make_calibration: Callable[..., Calibration]) -> None:
    model = nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([3.0, 1.0]).view(1, 2, 1, 1))
    image = torch.randn(2, 2, 4, 4)
    image[:, 0] = 0  # the larger weight reads nothing
    calibration = Calibration(batches=lambda: [(image, torch.ones(2, 1, 4, 4))], loss_of=mean_squares)
    mask = make_mask(model, "fisher", 0.5, measured=measure(model, "fisher", calibration))
    assert mask.keep("weight").flatten().tolist() == [False, True]
    assert make_mask(model, "global_magnitude", 0.5).keep("weight").flatten().tolist() == [True, False]


def test_what_was_not_measured_is_missed(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    with pytest.raises(ValueError, match="squared gradients"):
        make_mask(unet, "fisher", 0.5)
    assert measure(unet, "lamp", make_calibration()).squared_gradients is None


def test_no_slices_and_gradients_that_are_not_finite(
    unet: nn.Module, make_calibration: Callable[..., Calibration]
) -> None:
    with pytest.raises(UserError, match=r"no training slices; raise pruning\.repair_slices"):
        squared_gradients(unet, make_calibration())
    broken = Calibration(batches=make_calibration(1).batches, loss_of=lambda logits, _: logits.sum() * torch.inf)
    with pytest.raises(UserError, match=r"a gradient of 0\.weight is NaN or infinite"):
        squared_gradients(unet, broken)
