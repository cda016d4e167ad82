"""The layers that own prunable kernels: what flows out of them, and what reads it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from wcr_med.models.owners import KernelLayer, KernelOwner, kernel_owners


@torch.no_grad()
def run_with_hooks(model: nn.Module, image_NChw: Tensor, hooks: Iterable[tuple[nn.Module, Any]]) -> None:
    """One forward pass with forward hooks on some modules, which are taken off again."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        model(image_NChw)
    finally:
        for handle in handles:
            handle.remove()


def kernel_layers(model: nn.Module, image_1Chw: Tensor) -> list[KernelLayer]:
    """The layers whose kernel one forward pass uses exactly once, in module order."""
    owners = kernel_owners(model)
    uses: Counter[int] = Counter()

    def count(module: KernelOwner, _inputs: Any, _output: Tensor) -> None:
        uses.update([id(module.weight)])

    run_with_hooks(model, image_1Chw, [(owner.module, count) for owner in owners])
    return [owner for owner in owners if uses[id(owner.module.weight)] == 1]


@torch.no_grad()
def batch_norm_after(model: nn.Module, layers: list[KernelLayer], image_1Chw: Tensor) -> dict[str, _BatchNorm]:
    """Which batch norm reads a layer's output, by the layer's name; seen in one forward pass.

    Only one that reads the output itself, with nothing in between, that has running statistics, and that reads nothing
    else.
    """
    outputs: dict[int, tuple[str, Tensor]] = {}  # holds the tensors, so that no other gets their id
    readers: dict[str, _BatchNorm] = {}
    uses: Counter[_BatchNorm] = Counter()

    def leaves(name: str) -> Any:
        return lambda _module, _inputs, output: outputs.update({id(output): (name, output)})

    def reads(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        uses.update([module])
        if id(inputs[0]) in outputs and module.running_mean is not None:
            readers[outputs[id(inputs[0])][0]] = module

    handles = [layer.module.register_forward_hook(leaves(layer.name)) for layer in layers]
    handles += [module.register_forward_pre_hook(reads) for module in model.modules() if isinstance(module, _BatchNorm)]
    try:
        model(image_1Chw)
    finally:
        for handle in handles:
            handle.remove()
    return {name: norm for name, norm in readers.items() if uses[norm] == 1}


def channel_values(module: KernelOwner, output: Tensor) -> Tensor:
    """A layer's output as (slices, channels, positions); of a linear layer all rows are positions of one slice."""
    if isinstance(module, nn.Linear):
        return output.reshape(1, -1, output.shape[-1]).transpose(1, 2)
    return output.flatten(2)


@torch.no_grad()
def scale_channels_(module: KernelOwner, scale_C: Tensor) -> None:
    """Multiply a layer's kernel by one factor an output channel, in place; the bias stays."""
    weight = module.weight
    factor_C = scale_C.to(weight.dtype)
    if isinstance(module, _ConvNd) and module.transposed:
        # A transposed kernel has its inputs first: (groups * inputs, outputs of a group, ...).
        by_group = weight.view(module.groups, -1, *weight.shape[1:])
        by_group.mul_(factor_C.view(module.groups, 1, -1, *[1] * (weight.ndim - 2)))
    else:
        weight.mul_(factor_C.view(-1, *[1] * (weight.ndim - 1)))
