"""How many slices a batch norm needs to take statistics of."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wcr_med.models.owners import evaluation_mode


@torch.no_grad()
def fewest_slices(model: nn.Module, shape_Chw: tuple[int, ...]) -> int:
    """The fewest slices that a batch may have while the network trains: 1, or 2 where a batch norm needs a second.

    A batch norm takes mean and variance over all values of a channel, and one value has no variance. A network that
    shrinks the grid to one pixel has one value a slice there. It is counted in one forward pass of an image of zeros,
    in evaluation mode; the network is left as it was, and nothing random is drawn.

    Args:
        model: the network, on its device.
        shape_Chw: of one image, on the network's grid.

    Returns:
        1 or 2; 1 for a network without batch norm.
    """
    fewest = 1

    def look(_norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal fewest
        if inputs[0].numel() == inputs[0].shape[1]:
            fewest = 2

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    first = next(model.parameters(), torch.zeros(()))
    try:
        with evaluation_mode(model):
            model(torch.zeros((1, *shape_Chw), device=first.device, dtype=first.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return fewest
