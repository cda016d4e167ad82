import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning import Calibration, make_mask, prune_, tune_biases_
from wcr_med.pruning.biases import tunable_parameters
from wcr_med.training.processor import PLAIN_CPU


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_loss_falls_and_nothing_else_moves(
    unet: nn.Module, make_calibration: Callable[..., Calibration], precision: torch.dtype
) -> None:
    unet.train()
    processor = replace(PLAIN_CPU, precision=precision)
    prune_(unet, make_mask(unet, "global_magnitude", 0.8))
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    report = tune_biases_(unet, replace(make_calibration(18, 6), processor=processor), epochs=3, learning_rate=0.02)
    assert report["loss_after"] < report["loss_before"] - 0.01
    assert (report["n_steps"], report["epochs"]) == (9, 3)  # 16, 2 and 6 slices at each pass
    moved = {name for name, tensor in unet.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"1.weight", "1.bias", "4.bias", "6.bias"}
    assert unet.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in unet.parameters())


def test_which_parameters_are_tuned(unet: nn.Module) -> None:
    assert list(tunable_parameters(unet)) == ["1.weight", "1.bias", "4.bias", "6.bias"]  # not the slope of PReLU
    assert list(tunable_parameters(nn.Linear(2, 2))) == ["bias"]


def test_the_same_slices_give_the_same_network(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    again = copy.deepcopy(unet)
    assert tune_biases_(unet, make_calibration(8)) == tune_biases_(again, make_calibration(8))
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), again.parameters(), strict=True))


def test_a_network_without_such_parameters(make_calibration: Callable[..., Calibration]) -> None:
    report = tune_biases_(nn.Conv2d(1, 1, 1, bias=False), make_calibration(2))
    assert (report["n_parameters"], report["n_steps"]) == (0, 0)


@pytest.mark.parametrize(("sizes", "message"), [((), "no training slices"), ((4,), "NaN or infinite")])
def test_a_failure_leaves_the_former_parameters(
    unet: nn.Module, make_calibration: Callable[..., Calibration], sizes: tuple[int, ...], message: str
) -> None:
    calls = []

    def breaks(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        return logits.mean() * (1 if len(calls) == 1 else torch.nan)

    before = [parameter.detach().clone() for parameter in unet.parameters()]
    with pytest.raises(UserError, match=message):
        tune_biases_(unet, replace(make_calibration(*sizes), loss_of=breaks))
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), before, strict=True))
    assert all(parameter.requires_grad for parameter in unet.parameters())
