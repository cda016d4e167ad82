"""Images of any size for networks that halve the grid a fixed number of times."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PaddedNetwork(nn.Module, ABC):
    """A network whose input is padded to the size it needs, and whose output is cropped back.

    Where the size already fits, nothing is padded, so that an exported graph holds no padding. Otherwise rows and
    columns are added below and to the right as copies of the border: a zero would be an intensity like any other.

    Attributes:
        size_multiple: height and width inside the network are multiples of this number of pixels.
    """

    size_multiple: int

    def __init__(self, size_multiple: int) -> None:
        super().__init__()
        self.size_multiple = size_multiple

    @abstractmethod
    def forward_aligned(self, image: Tensor) -> Tensor:
        """Images (N, C, h, w) to logits (N, 1, h, w); h and w are multiples of `size_multiple`."""

    def forward(self, image: Tensor) -> Tensor:
        """Images to logits.

        Args:
            image: normalised images, floating point, (N, C, h, w) with h and w at least 1.

        Returns:
            Logits of the foreground class, (N, 1, h, w).
        """
        height, width = image.shape[-2:]
        below, right = -height % self.size_multiple, -width % self.size_multiple
        if below == 0 and right == 0:
            return self.forward_aligned(image)
        padded = F.pad(image, (0, right, 0, below), mode="replicate")
        return self.forward_aligned(padded)[..., :height, :width]


class LibraryNetwork(PaddedNetwork):
    """A network from a library, behind the same padding.

    Attributes:
        network: the library's own module.
    """

    network: nn.Module

    def __init__(self, network: nn.Module, size_multiple: int) -> None:
        super().__init__(size_multiple)
        self.network = network

    def forward_aligned(self, image: Tensor) -> Tensor:
        """Images (N, C, h, w) to logits (N, 1, h, w); h and w are multiples of `size_multiple`."""
        logits = self.network(image)
        assert isinstance(logits, torch.Tensor)
        return logits
