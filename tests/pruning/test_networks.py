"""Every network of the table goes through every score and every repair."""

import copy

import pytest
import torch

from wcr_med.config import LossConfig, ModelConfig
from wcr_med.losses import build_loss
from wcr_med.models import build_model, prunable_parameters
from wcr_med.pruning import Calibration, make_mask, measure, prune_, repair_


@pytest.mark.parametrize("name", ["buda_unet", "monai_unet", "basic_unet", "smp_unet"])
def test_scores_and_repairs(name: str) -> None:
    model = build_model(ModelConfig(name=name, features=4), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    image_NChw = torch.randn(2, 3, 32, 32, generator=generator)
    mask_N1hw = (image_NChw[:, :1] > 1).float()
    calibration = Calibration(batches=lambda: [(image_NChw, mask_N1hw)], loss_of=build_loss(LossConfig()))
    dense = copy.deepcopy(model)
    measured = measure(model, "fisher", calibration, cost_weight=0.5)
    assert measured.squared_gradients is not None
    assert all(bool(squares.any()) for squares in measured.squared_gradients.values())
    mask = make_mask(model, "fisher", 0.6, layer_floor=0.01, cost_weight=0.5, measured=measured)
    prune_(model, mask)
    names = ("match_variance", "reestimate_statistics", "tune_biases")
    matched, _, tuned = repair_(model, names, calibration, dense=dense)
    assert matched["n_layers"] == len(prunable_parameters(model))
    assert matched["n_without_offset"] == 0  # every layer has a bias, or a batch norm that reads it
    assert tuned["loss_after"] < tuned["loss_before"]
    for kernel_name, kernel in prunable_parameters(model).items():
        assert not bool(kernel[~mask.keep(kernel_name)].any())
        assert bool(torch.isfinite(kernel).all())
