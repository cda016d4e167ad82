"""How much the training loss feels each weight: the diagonal of the empirical Fisher matrix."""

import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.models import prunable_parameters
from wcr_med.models.owners import evaluation_mode
from wcr_med.pruning.calibration import Calibration


def squared_gradients(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """The mean over slices of the squared gradient of a slice's loss, for every prunable weight.

    F_i = 1/N * sum over n of (d loss_n / d w_i)^2, with the gradients taken slice by slice: the loss is a mean over
    slices, and squares of a batch's mean gradient would shrink with the size of the batch. One backward pass a slice
    costs a CPU little more than the same slices in batches, and no more memory than one slice; `torch.func.vmap` would
    hold one gradient a slice. Normalisation uses its running statistics and dropout is off, as where the network is
    used. Sums are in double precision.

    Args:
        model: the network; moved to the calibration's device, where it stays. Its weights, modes and gradients are left
            as they were.
        calibration: slices and loss.

    Returns:
        By kernel name, float64 on the CPU, of the kernels' shapes.

    Raises:
        UserError: there are no slices, or a gradient is NaN or infinite.

    References:
        Singh, Alistarh: WoodFisher, arXiv 2004.14340 (its diagonal).
    """
    kernels = prunable_parameters(model.to(calibration.device))
    sums = {name: torch.zeros_like(kernel, dtype=torch.float64) for name, kernel in kernels.items()}
    wanted = [(kernel, kernel.requires_grad) for kernel in kernels.values()]
    n_slices = 0
    try:
        for kernel, _ in wanted:
            kernel.requires_grad_(True)
        with evaluation_mode(model):
            for image_NChw, mask_N1hw in calibration.placed():
                for image_1Chw, mask_11hw in zip(torch.split(image_NChw, 1), torch.split(mask_N1hw, 1), strict=True):
                    loss = calibration.loss_of(model(image_1Chw).float(), mask_11hw)
                    gradients = torch.autograd.grad(loss, list(kernels.values()), materialize_grads=True)
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
