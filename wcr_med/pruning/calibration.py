"""The training slices that scores and repair look at.

Shape suffixes: N slices of a batch, C channels, h and w rows and columns of the network's grid.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import balanced_rows
from wcr_med.data.split import Split
from wcr_med.losses import Loss, build_loss
from wcr_med.training.processor import PLAIN_CPU, Processor, choose_processor

Batch = tuple[Tensor, Tensor]
"""image_NChw float32, normalised; mask_N1hw float32 of 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a score or a repair step may look at.

    Attributes:
        batches: gives the same batches at each call, see `calibration_slices`; they may lie on any device.
        loss_of: the training loss, of `wcr_med.losses.build_loss`.
        processor: where the network computes, and with which numbers it may learn; statistics are taken in float32.
            Whoever takes a Calibration places network and batches there, and leaves the network there.
    """

    batches: Callable[[], Iterable[Batch]]
    loss_of: Loss
    processor: Processor = PLAIN_CPU

    def placed(self) -> Iterator[Batch]:
        """One pass over the batches, where the network computes."""
        for image_NChw, mask_N1hw in self.batches():
            yield self.processor.place(image_NChw), self.processor.place(mask_N1hw)


def open_calibration(config: Config, cache: SliceCache, split: Split) -> Calibration:
    """The `pruning.repair_slices` slices of training patients that scores and repair look at, and the training loss."""

    def batches() -> Iterator[Batch]:
        return calibration_slices(
            cache,
            cache.rows(split.train),
            n_slices=config.pruning.repair_slices,
            seed=config.seed,
            other_per_tumour=config.training.other_per_tumour,
        )

    return Calibration(batches=batches, loss_of=build_loss(config.loss), processor=choose_processor(config.training))


def calibration_slices(
    cache: SliceCache,
    rows: npt.NDArray[Any],
    *,
    n_slices: int,
    seed: int,
    other_per_tumour: float,
    batch_size: int = 32,
) -> Iterator[Batch]:
    """Batches of training slices, without augmentation, in the balance that training used.

    Args:
        cache: prepared slices.
        rows: of the training patients, as of `SliceCache.rows`.
        n_slices: at most this many slices, drawn without repetition.
        seed: of the run; the same seed gives the same slices in the same order.
        other_per_tumour: see `wcr_med.data.dataset.balanced_rows`.
        batch_size: slices a batch; the last one may be smaller.

    Raises:
        UserError: `rows` is empty.
    """
    drawn = balanced_rows(cache, rows, other_per_tumour=other_per_tumour, seed=seed, epoch=0)[:n_slices]
    for start in range(0, len(drawn), batch_size):
        chosen = drawn[start : start + batch_size]
        cache.will_need(chosen.tolist())
        mask_Nhw = cache.masks_Nhw[chosen].astype(np.float32)
        yield torch.from_numpy(cache.images_NChw[chosen]).float(), torch.from_numpy(mask_Nhw)[:, None]
