"""Training of biases and normalisation parameters alone, every kernel held."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from wcr_med.errors import UserError
from wcr_med.models import prunable_parameters
from wcr_med.models.owners import evaluation_mode
from wcr_med.pruning.calibration import Calibration

LEARNING_RATE = 2e-3
"""Adam's rate: a parameter moves by at most about this much a step, a few hundredths in all."""
BATCH_SIZE = 16

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def tunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Biases of all modules, and gains and offsets of normalisation, by name; never a prunable kernel."""
    kernels = {id(kernel) for kernel in prunable_parameters(model).values()}
    return {
        f"{prefix}.{name}" if prefix else name: parameter
        for prefix, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if (name == "bias" or isinstance(module, _NORMS)) and id(parameter) not in kernels
    }


def tune_biases_(
    model: nn.Module, calibration: Calibration, *, epochs: int = 1, learning_rate: float = LEARNING_RATE
) -> dict[str, Any]:
    """Lower the training loss by moving biases and normalisation parameters alone, in place.

    Adam with a constant rate, batches of at most `BATCH_SIZE` slices in the calibration's order at every pass.
    Normalisation uses its running statistics, and dropout is off, as where the network is used. Every other parameter
    and all buffers stay as they are, bit for bit. Steps are computed in the processor's precision; the losses that are
    told are those of float32.

    Args:
        model: the pruned network, on the calibration's processor; each module keeps its mode. Gradients are cleared.
        calibration: slices and loss.
        epochs: passes over the slices.
        learning_rate: Adam's.

    Returns:
        A JSON-ready record: `n_parameters`, `n_steps`, `epochs`, `learning_rate`, and `loss_before` and `loss_after`,
        the loss of the calibration's batches, averaged over slices. A network without such parameters is left alone:
        0 parameters, 0 steps, no losses.

    Raises:
        UserError: there are no slices, or the loss became NaN or infinite. The former parameters stay.

    References:
        Zimmer, Andoni, Spiegel, Pokutta: PERP, arXiv 2312.15230.
    """
    tuned = tunable_parameters(model)
    record: dict[str, Any] = {
        "n_parameters": sum(parameter.numel() for parameter in tuned.values()),
        "n_steps": 0,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }
    if not tuned:
        return record
    former = {name: parameter.detach().clone() for name, parameter in tuned.items()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    kept = False
    try:
        with evaluation_mode(model):
            for parameter in wanted:
                parameter.requires_grad_(False)
            record["loss_before"] = _mean_loss(model, calibration)
            for parameter in tuned.values():
                parameter.requires_grad_(True)
            record["n_steps"] = _steps(model, list(tuned.values()), calibration, epochs, learning_rate)
            record["loss_after"] = _mean_loss(model, calibration)
        kept = True
    finally:
        for parameter, requires_grad in wanted.items():
            parameter.requires_grad_(requires_grad)
        if not kept:
            with torch.no_grad():
                for name, parameter in tuned.items():
                    parameter.copy_(former[name])
    return record


def _steps(
    model: nn.Module, tuned: list[nn.Parameter], calibration: Calibration, epochs: int, learning_rate: float
) -> int:
    optimizer = torch.optim.Adam(tuned, lr=learning_rate)
    n_steps = 0
    for _ in range(epochs):
        for image_NChw, mask_N1hw in calibration.placed():
            parts = (torch.split(whole, BATCH_SIZE) for whole in (image_NChw, mask_N1hw))
            for images, masks in zip(*parts, strict=True):
                optimizer.zero_grad()
                with calibration.processor.autocast():
                    logits_N1hw = model(images)
                torch.autograd.backward(calibration.loss_of(logits_N1hw.float(), masks))
                optimizer.step()
                n_steps += 1
    optimizer.zero_grad()
    return n_steps


@torch.no_grad()
def _mean_loss(model: nn.Module, calibration: Calibration) -> float:
    total = torch.zeros((), dtype=torch.float64, device=calibration.processor.device)
    n_slices = 0
    for image_NChw, mask_N1hw in calibration.placed():
        total += calibration.loss_of(model(image_NChw).float(), mask_N1hw).double() * len(image_NChw)
        n_slices += len(image_NChw)
    if n_slices == 0:
        raise UserError("pruning.repair tune_biases: no training slices; raise pruning.repair_slices")
    if not bool(torch.isfinite(total)):
        raise UserError("pruning.repair tune_biases: the loss is NaN or infinite; leave the step out, or train again")
    return float(total) / n_slices
