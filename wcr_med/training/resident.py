"""Training slices that live in the device's memory, and are augmented there.

Shape suffixes: N slices, C channels, h and w rows and columns of the network's grid.
"""

from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wcr_med.augment import Augmentation, noise_bank
from wcr_med.config import AugmentConfig
from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import Draw
from wcr_med.data.loader import Batch, EpochLoader, LoaderOptions
from wcr_med.training.augment_on_device import ChangeBatch, apply_changes, batch_changes

Array = npt.NDArray[Any]

_CHUNK = 256  # slices copied to the device at a time, so that the host never holds them all


def resident_bytes(cache: SliceCache, n_slices: int) -> int:
    """What that many slices of the cache take in the device's memory."""
    return n_slices * (cache.images_NChw[0].nbytes + cache.masks_Nhw[0].nbytes) if n_slices else 0


class ResidentLoader(EpochLoader):
    """Batches of an epoch, on the device: `for image_NChw, mask_N1hw in loader.epoch(3)`.

    The slices, their order and their changes are those of `TrainingLoader`; images differ by how the device
    interpolates. Gathering and augmenting are a few operations a batch, queued without waiting for them.

    Args:
        cache: prepared slices; those of `rows` are copied to the device.
        rows: the training rows.
        augment: what is drawn.
        device: where the slices live.
        options: `batch_size`, `other_per_tumour`, `seed`, `fewest`, `workers`, `rank` and `world` of `EpochLoader`;
            workers draw the changes.
    """

    def __init__(
        self,
        cache: SliceCache,
        rows: Array,
        augment: AugmentConfig,
        *,
        device: torch.device,
        **options: Unpack[LoaderOptions],
    ) -> None:
        self._device = device
        self._images_NhwC, self._masks_Nhw = _copy(cache, rows, device)
        shape_hwC = tuple(self._images_NhwC.shape[1:])
        self._noise = None
        if augment.enabled and augment.noise > 0:
            self._noise = torch.from_numpy(noise_bank(int(np.prod(shape_hwC)))).to(device)
        drawn = _Drawn(rows, augment, shape_hwC)
        super().__init__(drawn, _as_it_is, cache, rows, pin_memory=device.type == "cuda", read_ahead=False, **options)

    def _batch(self, made: Any) -> Batch:
        drawn: _DrawnBatch = made
        places_N = drawn.places_N.to(self._device, non_blocking=True)
        # Slices lie channels last, so what is gathered has the layout that convolutions want.
        images_NChw = self._images_NhwC[places_N].permute(0, 3, 1, 2).float()
        masks_N1hw = self._masks_Nhw[places_N][:, None].float()
        if drawn.changes is None:
            return images_NChw, masks_N1hw
        return apply_changes(images_NChw, masks_N1hw, drawn.changes.to(self._device), self._noise)


class _DrawnBatch(NamedTuple):
    """Which of the resident slices a batch takes, int64, and how they change; `None` for not at all."""

    places_N: Tensor
    changes: ChangeBatch | None


class _Drawn(Dataset[_DrawnBatch]):
    """What a batch of draws asks for; made whole, by a loader process or in this one."""

    def __init__(self, rows: Array, augment: AugmentConfig, shape_hwC: tuple[int, ...]) -> None:
        self._place_of = {int(row): place for place, row in enumerate(rows)}
        self._augmentation = Augmentation(augment) if augment.enabled else None
        self._shape_hwC = shape_hwC

    def __getitems__(self, draws: list[Draw]) -> _DrawnBatch:
        places_N = torch.tensor([self._place_of[draw.row] for draw in draws], dtype=torch.int64)
        if self._augmentation is None or not draws:
            return _DrawnBatch(places_N, None)
        changes = [self._augmentation.draw(self._shape_hwC, draw.seed) for draw in draws]
        return _DrawnBatch(places_N, batch_changes(changes, columns=self._shape_hwC[1]))


def _as_it_is(batch: Any) -> Any:
    return batch


def _copy(cache: SliceCache, rows: Array, device: torch.device) -> tuple[Tensor, Tensor]:
    """The slices of these rows in the device's memory: float16 (N, h, w, C) and uint8 (N, h, w)."""
    _, n_channels, height, width = cache.images_NChw.shape
    images_NhwC = torch.empty((len(rows), height, width, n_channels), dtype=torch.float16, device=device)
    masks_Nhw = torch.empty((len(rows), height, width), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        images_NChw = torch.from_numpy(np.array(cache.images_NChw[chunk]))
        images_NhwC[start : start + _CHUNK] = images_NChw.to(device).permute(0, 2, 3, 1)
        masks_Nhw[start : start + _CHUNK] = torch.from_numpy(np.array(cache.masks_Nhw[chunk])).to(device)
    return images_NhwC, masks_Nhw
