"""Batches of training slices, made in this process or in others.

Shape suffixes: N slices, C channels, h and w rows and columns of the network's grid.
"""

import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NotRequired, TypedDict, Unpack

import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import Array, Augmenter, BatchPlan, Draw, EpochPlan, SliceDataset

Batch = tuple[torch.Tensor, torch.Tensor]
"""image float32 (N, C, h, w) and mask float32 (N, 1, h, w) of 0 and 1"""

_GRACE_SECONDS = 60  # for a training to save its state


class LoaderOptions(TypedDict):
    """What an epoch takes, and who makes which part of it: keywords of `EpochLoader`."""

    batch_size: int
    other_per_tumour: float
    seed: int
    fewest: NotRequired[int]
    workers: NotRequired[int]
    rank: NotRequired[int]
    world: NotRequired[int]


class EpochLoader:
    """Batches of an epoch, made in this process or in others that live on between epochs.

    The last batch of an epoch may be smaller; where it has fewer slices than there are processes, some get an empty
    one.

    Args:
        dataset: makes an item of each `Draw`, or of a batch of them at once by `__getitems__`.
        collate: of the items of a batch; a batch may have none.
        cache: prepared slices.
        rows: the training rows.
        batch_size: slices a batch, all processes of the training together.
        other_per_tumour: see `balanced_rows`.
        seed: of the run.
        fewest: slices that a batch may have; a last one with fewer is joined to the one before it.
        pin_memory: whether batches come in memory that a CUDA device reads by itself.
        read_ahead: whether the rows of a batch are fetched from the disk while the one before is used.
        workers: loader processes; 0 for none but this one. It does not change what comes out.
        rank: which process of the training this is, from 0.
        world: how many processes train together.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        collate: Callable[[Any], Any],
        cache: SliceCache,
        rows: Array,
        *,
        batch_size: int,
        other_per_tumour: float,
        seed: int,
        pin_memory: bool,
        read_ahead: bool,
        fewest: int = 1,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._plan = EpochPlan(cache, rows, other_per_tumour=other_per_tumour, seed=seed)
        announce = partial(_fetch, cache) if read_ahead else None
        self._batches = BatchPlan(
            self._plan, batch_size=batch_size, fewest=fewest, rank=rank, world=world, announce=announce
        )
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._batches,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_the_training,
            pin_memory=pin_memory,
            # The loader draws a number from a generator at each pass; its own keeps that away from the run's.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches of an epoch; the same in every epoch."""
        return len(self._batches)

    @property
    def n_slices(self) -> int:
        """Slices of an epoch; the same in every epoch."""
        return len(self._plan)

    def epoch(self, number: int, *, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch: image float32 (N, C, h, w), mask float32 (N, 1, h, w).

        Args:
            number: of the epoch, from 0.
            first_step: batches that are skipped: an interrupted epoch has had them.
        """
        self._plan.set_epoch(number)
        self._batches.first_step = first_step
        for made in self._loader:
            yield self._batch(made)

    def close(self) -> None:
        """End the loader's processes now; torch does when nothing refers to them, and an exception's frames do."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()

    def _batch(self, made: Any) -> Batch:
        """The tensors, of what `collate` has made."""
        image_NChw, mask_N1hw = made
        return image_NChw, mask_N1hw


class TrainingLoader(EpochLoader):
    """Batches of an epoch: `for image_NChw, mask_N1hw in loader.epoch(3)`.

    Args:
        cache: prepared slices.
        rows: the training rows.
        augmenter: changes images and masks; `None` for no change.
        options: `batch_size`, `other_per_tumour`, `seed`, `fewest`, `workers`, `rank` and `world` of `EpochLoader`.
    """

    def __init__(
        self, cache: SliceCache, rows: Array, augmenter: Augmenter | None, **options: Unpack[LoaderOptions]
    ) -> None:
        super().__init__(
            SliceDataset(cache, rows, augmenter=augmenter),
            partial(_collate, shape_Chw=cache.images_NChw.shape[1:]),
            cache,
            rows,
            pin_memory=torch.cuda.is_available(),
            read_ahead=True,
            **options,
        )


def _fetch(cache: SliceCache, draws: list[Draw]) -> None:
    cache.will_need([draw.row for draw in draws])


def _collate(items: list[Batch], *, shape_Chw: tuple[int, ...]) -> Batch:
    if not items:
        return torch.empty(0, *shape_Chw), torch.empty(0, 1, *shape_Chw[1:])
    images, masks = zip(*items, strict=True)
    # In a loader process this writes into shared memory at once, as torch's own collation does. Images stay channels
    # last, as they come: no copy changes their order.
    image_NhwC = default_collate([image_Chw.permute(1, 2, 0) for image_Chw in images])
    return image_NhwC.permute(0, 3, 1, 2), default_collate([*masks])


def _leave_signals_to_the_training(_worker: int) -> None:
    """Signals to the whole process group stop the training, which then ends its loader processes by itself.

    For a loader process. One that nobody has ended a while after SIGTERM ends all the same: Python sends it that signal
    at exit and then waits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
