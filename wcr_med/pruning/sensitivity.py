"""How much the training loss feels each weight: the diagonal of the empirical Fisher matrix."""

import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.models import prunable_parameters
from wcr_med.models.owners import evaluation_mode
from wcr_med.pruning.calibration import Calibration


def squared_gradients(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """The mean over slices of the squared gradient that a slice has on the loss, for every prunable weight.

    With z_n the logits of slice n in a batch of B slices,

        F_i = mean over n of (B * dL/dz_n . dz_n/dw_i)^2.

    Where the loss is a mean over slices this is the square of each slice's own gradient; where it sums over the batch,
    as the soft Dice of a batch does, it is the square of the slice's part in it. Squares of a batch's mean gradient
    would shrink with the batch instead. One backward pass a slice costs a CPU little more than the same slices in
    batches, and no more memory than one slice, where `torch.func.vmap` would hold a gradient for each.

    Normalisation uses its running statistics and dropout is off, as where the network is used. Sums are in double
    precision.

    Args:
        model: the network; placed on the calibration's processor, where it stays. Its weights, modes and gradients are
            left as they were.
        calibration: slices and loss.

    Returns:
        By kernel name, float64 on the CPU, of the kernels' shapes.

    Raises:
        UserError: there are no slices, or a gradient is NaN or infinite.

    References:
        Singh, Alistarh: WoodFisher, arXiv 2004.14340 (its diagonal).
    """
    kernels = prunable_parameters(calibration.processor.place_model(model))
    sums = {name: torch.zeros_like(kernel, dtype=torch.float64) for name, kernel in kernels.items()}
    wanted = [(kernel, kernel.requires_grad) for kernel in kernels.values()]
    n_slices = 0
    try:
        for kernel, _ in wanted:
            kernel.requires_grad_(True)
        with evaluation_mode(model):
            for image_NChw, mask_N1hw in calibration.placed():
                slope_N1hw = len(image_NChw) * _slope(model, calibration, image_NChw, mask_N1hw)
                for image_1Chw, slope_11hw in zip(torch.split(image_NChw, 1), torch.split(slope_N1hw, 1), strict=True):
                    gradients = torch.autograd.grad(
                        model(image_1Chw), list(kernels.values()), slope_11hw, materialize_grads=True
                    )
                    for total, gradient in zip(sums.values(), gradients, strict=True):
                        total += gradient.double().square()
                    n_slices += 1
    finally:
        for kernel, requires_grad in wanted:
            kernel.requires_grad_(requires_grad)
    if n_slices == 0:
        raise UserError("pruning.score fisher: no training slices; raise pruning.repair_slices")
    for name, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise UserError(f"pruning.score fisher: a gradient of {name} is NaN or infinite; train again")
    return {name: (total / n_slices).cpu() for name, total in sums.items()}


def _slope(model: nn.Module, calibration: Calibration, image_NChw: Tensor, mask_N1hw: Tensor) -> Tensor:
    """The derivative of a batch's loss by its logits."""
    with torch.no_grad():
        logits_N1hw = model(image_NChw)
    logits_N1hw.requires_grad_(True)
    slope_N1hw: Tensor = torch.autograd.grad(calibration.loss_of(logits_N1hw.float(), mask_N1hw), logits_N1hw)[0]
    return slope_N1hw
