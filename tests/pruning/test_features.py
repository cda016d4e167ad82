"""Every kernel layer as a linear map of its features."""

from typing import Any

import pytest
import torch
from torch import nn

from wcr_med.pruning.features import features_at, kernel_matrix, output_grid, outputs_at, set_kernel_

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(3, 4, 3, padding=1), (3, 7, 6)),
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(0, 2), groups=2, bias=False), (4, 9, 8)),
    (nn.Conv2d(2, 2, 3, padding="same", padding_mode="reflect"), (2, 6, 6)),
    (nn.Conv2d(4, 4, 3, groups=4, padding=1), (4, 5, 5)),
    (nn.Conv1d(3, 2, 5, stride=2), (3, 11)),
    (nn.Conv3d(2, 3, 2, padding=1), (2, 4, 3, 5)),
    (nn.ConvTranspose2d(4, 3, 2, stride=2), (4, 5, 4)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 4)),
    (nn.ConvTranspose2d(2, 3, 2, padding=1, dilation=2, bias=False), (2, 6, 5)),
    (nn.ConvTranspose1d(3, 2, 4, stride=3, padding=2), (3, 7)),
    (nn.Linear(5, 3), (4, 5)),
]


@pytest.mark.parametrize(
    ("layer", "shape"), LAYERS, ids=lambda value: str(value) if isinstance(value, nn.Module) else ""
)
def test_kernel_times_features_is_the_output(layer: Any, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, *shape, generator=generator)
    output = layer(image).detach()
    grid = output_grid(layer, output)
    is_linear = isinstance(layer, nn.Linear)
    n_places, n_slices = (grid[0], 1) if is_linear else (output[0, 0].numel(), 2)
    slices_P = torch.arange(n_slices).repeat_interleave(n_places)
    places_P = torch.arange(n_places).repeat(n_slices)
    features_GPK = features_at(layer, image, slices_P, places_P, grid).double()
    found_GPO = features_GPK @ kernel_matrix(layer).mT
    if layer.bias is not None:
        found_GPO += layer.bias.detach().reshape(found_GPO.shape[0], 1, -1)
    expected_GPO = outputs_at(layer, output, slices_P, places_P).double()
    torch.testing.assert_close(found_GPO, expected_GPO, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"), LAYERS, ids=lambda value: str(value) if isinstance(value, nn.Module) else ""
)
def test_a_kernel_reads_back(layer: Any, shape: tuple[int, ...]) -> None:
    del shape
    before = layer.weight.detach().clone()
    kernel_GOK = kernel_matrix(layer)
    with torch.no_grad():
        layer.weight.zero_()
    set_kernel_(layer, kernel_GOK)
    assert torch.equal(layer.weight, before)
