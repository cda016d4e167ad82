import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning import Calibration, make_mask, prune_, repair_, repair_in_words, require_repair


def test_steps_are_done_in_order_and_recorded(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    dense = copy.deepcopy(unet)
    mask = make_mask(unet, "global_magnitude", 0.8)
    prune_(unet, mask)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    names = ("match_variance", "reestimate_statistics", "tune_biases")
    records = repair_(unet, names, make_calibration(4, 4), dense=dense, tune_epochs=2)
    assert tuple(record["step"] for record in records) == names
    assert records[2]["epochs"] == 2
    json.dumps(records, allow_nan=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    for name, kernel in unet.named_parameters():
        if name in {row.name for row in mask.layers}:
            assert not bool(kernel[~mask.keep(name)].any())


def test_no_step_does_nothing(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    assert repair_(unet, (), make_calibration(2)) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


def test_wrong_steps_and_orders_are_refused_before_anything_happens() -> None:
    with pytest.raises(UserError, match="'polish' is not a step; there are reestimate_statistics, match_variance"):
        require_repair(("reestimate_statistics", "polish"))
    with pytest.raises(UserError, match=r"match_variance must come first.*reestimate_statistics has replaced"):
        require_repair(("reestimate_statistics", "match_variance"))
    require_repair(("match_variance", "tune_biases", "reestimate_statistics"))


def test_variance_needs_the_dense_network(unet: nn.Module, make_calibration: Callable[..., Calibration]) -> None:
    with pytest.raises(ValueError, match="dense network"):
        repair_(unet, ("match_variance",), make_calibration(2))


def test_steps_in_words() -> None:
    assert repair_in_words(()) == "as pruned"
    assert repair_in_words(("reestimate_statistics", "tune_biases")) == "statistics re-estimated, biases tuned"
