"""What a layer's kernel is multiplied with: every kernel layer as a linear map of the features at each output position.

Shape suffixes: N slices, C input channels, O output channels of a group, K features of a group (input channels of a
group times taps), P positions of a batch, G groups, t axes of taps.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from wcr_med.models.owners import KernelOwner


def output_grid(module: KernelOwner, output: Tensor) -> tuple[int, ...]:
    """The output's positions by axis: rows of a linear layer, else the spatial grid of a slice."""
    return (output.numel() // output.shape[-1],) if isinstance(module, nn.Linear) else tuple(output.shape[2:])


def features_at(
    module: KernelOwner, image: Tensor, slices_P: Tensor, places_P: Tensor, grid: tuple[int, ...]
) -> Tensor:
    """What the kernel sees at some output positions.

    Args:
        module: a layer.
        image: its input of one pass.
        slices_P: int64, which slice each position lies in; all 0 for a linear layer.
        places_P: int64, the position's flat index on the output grid.
        grid: of `output_grid`.

    Returns:
        (G, P, K) in the input's dtype: output = kernel_GOK @ features + bias, position by position.
    """
    if isinstance(module, nn.Linear):
        return image.reshape(-1, image.shape[-1])[places_P][None]
    windows = _windows(module, image, grid)
    index: tuple[Any, ...] = (slices_P, slice(None), *torch.unravel_index(places_P, grid))
    chosen = windows[index]  # (P, C, *t)
    by_group = chosen.reshape(len(places_P), module.groups, -1)
    return by_group.transpose(0, 1)


def outputs_at(module: KernelOwner, output: Tensor, slices_P: Tensor, places_P: Tensor) -> Tensor:
    """The layer's output at those positions, as (G, P, O)."""
    if isinstance(module, nn.Linear):
        return output.reshape(-1, output.shape[-1])[places_P][None]
    chosen_PO = output.flatten(2)[slices_P, :, places_P]
    return chosen_PO.reshape(len(places_P), module.groups, -1).transpose(0, 1)


def kernel_matrix(module: KernelOwner) -> Tensor:
    """The kernel as float64 (G, O, K), in the order of `features_at`."""
    weight = module.weight.detach()
    if isinstance(module, nn.Linear):
        return weight.double()[None]
    if module.transposed:
        # A transposed kernel has its inputs first, and meets the image mirrored.
        by_group = weight.reshape(module.groups, -1, *weight.shape[1:]).transpose(1, 2)
        weight = by_group.flip(_tap_axes(module, by_group))
    return weight.reshape(module.groups, module.out_channels // module.groups, -1).double()


@torch.no_grad()
def set_kernel_(module: KernelOwner, kernel_GOK: Tensor) -> None:
    """Write what `kernel_matrix` gives back, in place."""
    weight = module.weight
    if isinstance(module, _ConvNd) and module.transposed:
        taps = weight.shape[2:]
        by_group = kernel_GOK.reshape(module.groups, weight.shape[1], -1, *taps)
        by_group = by_group.flip(_tap_axes(module, by_group)).transpose(1, 2)
        weight.copy_(by_group.reshape(weight.shape))
    else:
        weight.copy_(kernel_GOK.reshape(weight.shape))


def _tap_axes(module: _ConvNd, kernel: Tensor) -> list[int]:
    return list(range(kernel.ndim - len(module.kernel_size), kernel.ndim))


def _windows(module: _ConvNd, image: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Every output position's taps, as a view (N, C, *grid, *t)."""
    spans = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if module.transposed:
        windows, strides = _stuffed(module, image, grid, spans), [1] * len(grid)
    else:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        windows = functional.pad(image, module._reversed_padding_repeated_twice, mode=mode)
        strides = list(module.stride)
    for axis, (span, stride) in enumerate(zip(spans, strides, strict=True)):
        windows = windows.unfold(2 + axis, span, stride)
    dilated: tuple[Any, ...] = (..., *(slice(None, None, step) for step in module.dilation))
    return windows[dilated]


def _stuffed(module: _ConvNd, image: Tensor, grid: tuple[int, ...], spans: list[int]) -> Tensor:
    """The image with zeros between its pixels, on which a transposed convolution is an ordinary one of stride 1."""
    sizes = [(size - 1) * stride + 1 for size, stride in zip(image.shape[2:], module.stride, strict=True)]
    stuffed = image.new_zeros(*image.shape[:2], *sizes)
    spread: tuple[Any, ...] = (..., *(slice(None, None, stride) for stride in module.stride))
    stuffed[spread] = image
    margins: list[int] = []
    for size, span, pad, wanted in zip(sizes, spans, module.padding, grid, strict=True):
        assert isinstance(pad, int)
        before = span - 1 - pad
        margins = [before, wanted + span - 1 - size - before, *margins]
    return functional.pad(stuffed, margins)
