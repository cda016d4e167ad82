"""A tiny network, its calibration slices, and a cache of made-up slices."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wcr_med.config import LossConfig
from wcr_med.data.cache import SliceCache
from wcr_med.losses import build_loss
from wcr_med.pruning import Calibration


@pytest.fixture
def unet() -> nn.Module:
    """Every kind of layer of a U-Net: convolutions with and without bias, batch norm, a transposed convolution."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.PReLU(),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.Conv2d(8, 1, 1, bias=False),
    )
    return model.eval()


@pytest.fixture
def make_calibration() -> Callable[..., Calibration]:
    """A Calibration of bright squares on noise: `make_calibration(3, 2)` has batches of 3 and 2 slices of 16x16."""

    def make(*sizes: int) -> Calibration:
        return Calibration(batches=lambda: [squares(n, seed) for seed, n in enumerate(sizes)], loss_of=LOSS)

    return make


LOSS = build_loss(LossConfig())


def squares(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image_N1hw = torch.randn(n, 1, 16, 16, generator=generator)
    mask_N1hw = torch.zeros(n, 1, 16, 16)
    for index in range(n):
        top, left = torch.randint(0, 10, (2,), generator=generator).tolist()
        mask_N1hw[index, 0, top : top + 6, left : left + 6] = 1
    return image_N1hw + 2 * mask_N1hw, mask_N1hw


@pytest.fixture
def slices() -> SliceCache:
    """Twelve slices of 16x16, of patients a and b; every second one holds a square."""
    image_N1hw, mask_N1hw = squares(12, 0)
    masks_Nhw = mask_N1hw[:, 0].numpy().astype(np.uint8)
    masks_Nhw[1::2] = 0
    return SliceCache(
        images_NChw=image_N1hw.numpy().astype(np.float16),
        masks_Nhw=masks_Nhw,
        patient_ids_N=np.array(["a"] * 8 + ["b"] * 4),
        slice_numbers_N=np.arange(12),
        has_tumour_N=masks_Nhw.any(axis=(1, 2)),
        key="0" * 64,
    )
