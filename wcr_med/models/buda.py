"""The U-Net of Buda, Saha and Mazurowski for lower-grade glioma, with a configurable width."""

import torch
from torch import Tensor, nn

from wcr_med.models.padded import PaddedNetwork

_LEVELS = 4


class BudaUNet(PaddedNetwork):
    """Four levels down, four up; 7.76 million parameters with 32 features.

    A level is two times 3x3 convolution, batch norm, ReLU. Levels have f, 2f, 4f, 8f channels and the bottleneck 16f;
    2x2 max-pooling leads down, 2x2 transposed convolution with stride 2 leads up, and a 1x1 convolution gives the
    logits. Convolutions before batch norm carry no bias, since batch norm would subtract it. Kernels start as
    PyTorch draws them, 2.4 times smaller than He et al. 2015: batch norm makes the scale indifferent to the output, and
    what training adds then outgrows the random start sooner, which magnitude pruning depends on.

    Buda M, Saha A, Mazurowski MA. Association of genomic subtypes of lower-grade gliomas with shape features
    automatically extracted by a deep learning algorithm. Computers in Biology and Medicine 109 (2019).
    """

    def __init__(self, in_channels: int, features: int) -> None:
        super().__init__(size_multiple=2**_LEVELS)
        widths = [features << level for level in range(_LEVELS)]
        bottom = features << _LEVELS
        inputs = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(_block(before, after) for before, after in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = _block(widths[-1], bottom)
        self.widen = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths))
        self.up = nn.ModuleList(_block(2 * width, width) for width in reversed(widths))
        self.head = nn.Conv2d(features, 1, 1)

    def forward_aligned(self, image: Tensor) -> Tensor:
        """Images (N, C, h, w) to logits (N, 1, h, w); h and w are multiples of 16."""
        skips = []
        state = image
        for block in self.down:
            state = block(state)
            skips.append(state)
            state = self.pool(state)
        state = self.bottleneck(state)
        for widen, block in zip(self.widen, self.up, strict=True):
            state = block(torch.cat((widen(state), skips.pop()), dim=1))
        logits = self.head(state)
        assert isinstance(logits, Tensor)
        return logits


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
