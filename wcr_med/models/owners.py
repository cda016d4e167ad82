"""The layers that own prunable kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from wcr_med.models.prunable import prunable_parameters

KernelOwner = _ConvNd | nn.Linear
"""A convolution, a transposed one, or a linear layer."""


@dataclass(frozen=True, kw_only=True)
class KernelLayer:
    """A layer and its name in the network."""

    name: str
    module: KernelOwner


def kernel_owners(model: nn.Module) -> list[KernelLayer]:
    """Every layer with a prunable kernel, in module order; layers that share a kernel all stand here."""
    kernels = {id(kernel) for kernel in prunable_parameters(model).values()}
    return [
        KernelLayer(name=name, module=module)
        for name, module in model.named_modules()
        if isinstance(module, KernelOwner) and id(module.weight) in kernels
    ]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Running statistics and no dropout inside the block; each module has its own mode again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
