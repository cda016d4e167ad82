"""What a weight of each layer costs at inference, for rankings that weigh accuracy against latency."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from wcr_med.models.owners import evaluation_mode, kernel_owners
from wcr_med.models.prunable import prunable_parameters


@torch.no_grad()
def layer_costs(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, float]:
    """At how many positions a network uses each weight of a layer, for one image.

    A convolution multiplies each of its weights once for every position of its output, a transposed convolution once
    for every position of its input, a linear layer once for every row it is given. The time of an engine that
    computes with the non-zeros alone is proportional to non-zeros times this number. It is counted in one forward
    pass of an image of zeros, in evaluation mode; the network is left as it was.

    Args:
        model: the network.
        image_shape: of one image, without the axis of the batch: (C, h, w) of the network's grid.

    Returns:
        By kernel name, divided by the smallest, so that the cheapest layer has 1. Uses of a kernel that several layers
        share add up. A layer that the pass did not reach has 1.
    """
    kernels = prunable_parameters(model)
    names = {id(kernel): name for name, kernel in kernels.items()}
    positions = dict.fromkeys(kernels, 0)

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        positions[names[id(module.weight)]] += _positions(module, inputs[0], output)

    handles = [owner.module.register_forward_hook(add) for owner in kernel_owners(model)]
    first = next(iter(kernels.values()), torch.zeros(()))
    try:
        with evaluation_mode(model):
            model(torch.zeros((1, *image_shape), device=first.device, dtype=first.dtype))
    finally:
        for handle in handles:
            handle.remove()
    cheapest = min((count for count in positions.values() if count), default=1)
    return {name: max(count, cheapest) / cheapest for name, count in positions.items()}


def _positions(module: nn.Module, image: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() // output.shape[-1] if output.numel() else 0
    transposed = isinstance(module, _ConvNd) and module.transposed
    return math.prod((image if transposed else output).shape[2:])
