from collections.abc import Callable

import pytest
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning import Calibration, Measured, make_mask, measure
from wcr_med.pruning.costs import per_cost


@pytest.fixture
def equal(unet: nn.Module) -> nn.Module:
    """The small network with every magnitude the same."""
    with torch.no_grad():
        for module in (unet[0], unet[4], unet[6], unet[7]):
            module.weight.fill_(0.5)
    return unet


def test_with_equal_magnitudes_the_expensive_layers_go_first(
    equal: nn.Module, make_calibration: Callable[..., Calibration]
) -> None:
    for score in ("global_magnitude", "lamp", "fisher"):
        measured = measure(equal, score, make_calibration(1), cost_weight=1.0)
        assert measured.costs == {"0.weight": 4, "4.weight": 1, "6.weight": 1, "7.weight": 4}
    measured = measure(equal, "global_magnitude", make_calibration(1), cost_weight=0.5)
    n = [72, 1152, 512, 8]
    mask = make_mask(equal, "global_magnitude", (72 + 8) / sum(n), cost_weight=0.5, measured=measured)
    assert [row.n_kept for row in mask.layers] == [0, 1152, 512, 0]
    mask = make_mask(equal, "global_magnitude", (72 + 8) / sum(n))
    assert [row.n_kept for row in mask.layers] == [0, 1144, 512, 8]  # by the rule for ties alone


def test_the_weight_of_costs_is_an_exponent_on_squares() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.MaxPool2d(2), nn.Conv2d(2, 1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 1.8]).view(2, 1, 1, 1))
        model[2].weight.copy_(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
    calibration = Calibration(
        batches=lambda: [(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4))], loss_of=lambda logits, _: logits.sum()
    )
    measured = measure(model, "global_magnitude", calibration, cost_weight=1.0)

    def removed(cost_weight: float) -> list[list[bool]]:
        mask = make_mask(model, "global_magnitude", 0.5, cost_weight=cost_weight, measured=measured)
        return [(~mask.keep(name)).flatten().tolist() for name in ("0.weight", "2.weight")]

    assert removed(0.0) == [[False, True], [True, False]]  # |w|: 3, 1.8 against 1, 2
    assert removed(1.0) == [[False, True], [True, False]]  # w^2 / cost: 9/4, 3.24/4 against 1, 4
    with torch.no_grad():
        model[0].weight[0] = 1.99
    assert removed(1.0) == [[True, True], [False, False]]  # 1.99^2 / 4 = 0.990 against 1
    assert removed(0.9) == [[False, True], [True, False]]  # 1.99^2 / 4^0.9 = 1.137


def test_no_weight_no_change() -> None:
    scores = per_cost({"a": torch.tensor([1.0, 4.0])}, {"a": 16.0}, 0.0)
    assert scores["a"].tolist() == [1, 4]
    assert per_cost({"a": torch.tensor([1.0, 4.0])}, {"a": 16.0}, 0.5)["a"].tolist() == [0.25, 1]


def test_what_cannot_be(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    for call in (
        lambda: measure(unet, "layer_magnitude", make_calibration(1), cost_weight=0.5),
        lambda: make_mask(unet, "layer_magnitude", 0.5, cost_weight=0.5),
    ):
        with pytest.raises(UserError, match=r"pruning\.cost_weight is 0\.5, but pruning\.score layer_magnitude"):
            call()
    with pytest.raises(UserError, match=r"pruning\.cost_weight is 1\.5: give a number from 0 to 1"):
        make_mask(unet, "lamp", 0.5, cost_weight=1.5)
    with pytest.raises(ValueError, match="needs the costs"):
        make_mask(unet, "lamp", 0.5, cost_weight=0.5, measured=Measured())
    with pytest.raises(UserError, match=r"pruning\.cost_weight: no training slices"):
        measure(unet, "lamp", make_calibration(), cost_weight=0.5)
