"""Training slices: which ones an epoch takes, in which order, with which augmentation.

Every choice is a pure function of (seed, epoch, position), so a resumed run sees the slices that an uninterrupted one
would have seen, and the number of loader processes changes nothing.

Shape suffixes: N slices of the cache, C channels, h and w rows and columns of the network's grid.
"""

import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, NotRequired, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError

Array = npt.NDArray[Any]
Augmenter = Callable[[Array, Array, int], tuple[Array, Array]]
"""(image_hwC float32, mask_hw uint8, seed) -> the same two, changed."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""image float32 (N, C, h, w) and mask float32 (N, 1, h, w) of 0 and 1"""

_ORDER, _AUGMENT = 0, 1  # separate random streams of one (seed, epoch)
_GRACE_SECONDS = 60  # for a training to save its state


class Draw(NamedTuple):
    """One training item: a row of the cache and the seed of its augmentation."""

    row: int
    seed: int


def balanced_rows(cache: SliceCache, rows: Array, *, other_per_tumour: float, seed: int, epoch: int) -> Array:
    """The rows of one epoch, shuffled: every slice with tumour once, others drawn without repetition.

    Args:
        cache: tells which slices hold tumour.
        rows: rows to draw from, as of `SliceCache.rows`.
        other_per_tumour: slices without tumour for each slice with tumour; rounded, and at most as many as there are.
        seed: of the run.
        epoch: from 0; another epoch draws others and shuffles anew.

    Returns:
        int64 rows. Where no slice holds tumour, all rows.

    Raises:
        UserError: `rows` is empty.
    """
    if len(rows) == 0:
        raise UserError("no slices to train on; lower split.test_patients or split.validation_patients")
    rng = np.random.default_rng([seed, epoch, _ORDER])
    holds_tumour = cache.has_tumour_N[rows]
    tumour, other = rows[holds_tumour], rows[~holds_tumour]
    n_other = min(len(other), round(other_per_tumour * len(tumour))) if len(tumour) else len(other)
    chosen = np.concatenate([tumour, rng.permutation(other)[:n_other]])
    return rng.permutation(chosen)


class EpochPlan(Sampler[Draw]):
    """The items of an epoch in order; `set_epoch` before each pass.

    Args:
        cache: prepared slices.
        rows: the training rows.
        other_per_tumour: see `balanced_rows`.
        seed: of the run.
    """

    def __init__(self, cache: SliceCache, rows: Array, *, other_per_tumour: float, seed: int) -> None:
        self._cache = cache
        self._rows = rows
        self._other_per_tumour = other_per_tumour
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Plan the epoch with this number, from 0."""
        self._order = balanced_rows(
            self._cache, self._rows, other_per_tumour=self._other_per_tumour, seed=self._seed, epoch=epoch
        )
        rng = np.random.default_rng([self._seed, epoch, _AUGMENT])
        # Drawn in order of position, so the seed of a position does not depend on how many follow.
        self._seeds = rng.integers(0, 2**32, size=len(self._order), dtype=np.uint32)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.part(slice(None)))

    def part(self, positions: slice) -> list[Draw]:
        """The items at these positions of the epoch's order."""
        rows, seeds = self._order[positions].tolist(), self._seeds[positions].tolist()
        return [Draw(row, seed) for row, seed in zip(rows, seeds, strict=True)]


class BatchPlan(Sampler[list[Draw]]):
    """One process's part of every batch of an epoch: contiguous, so that the parts in rank order are the whole batch.

    Args:
        plan: of the epoch.
        batch_size: slices a batch, all processes together.
        rank: of this process, from 0.
        world: processes in all.
        announce: is given each batch while the one before it is still to be used; `None`: nobody wants to know.
    """

    def __init__(
        self,
        plan: EpochPlan,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        announce: Callable[[list[Draw]], None] | None = None,
    ) -> None:
        self._plan = plan
        self._batch_size = batch_size
        self._rank = rank
        self._world = world
        self._announce = announce or (lambda _draws: None)
        self.first_step = 0

    def __len__(self) -> int:
        """Batches of a whole epoch, the skipped ones included."""
        return -(-len(self._plan) // self._batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = (self._batch(step) for step in range(self.first_step, len(self)))
        if (batch := next(batches, None)) is None:
            return
        self._announce(batch)
        for following in batches:
            self._announce(following)
            yield batch
            batch = following
        yield batch

    def _batch(self, step: int) -> list[Draw]:
        begin, end = step * self._batch_size, min(len(self._plan), (step + 1) * self._batch_size)
        share, more = divmod(end - begin, self._world)
        start = begin + self._rank * share + min(self._rank, more)
        return self._plan.part(slice(start, start + share + (self._rank < more)))


class SliceDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Slices of a cache as tensors: image float32 (C, h, w) and mask float32 (1, h, w) of 0 and 1.

    Indexed by a `Draw` it gives that row of the cache, augmented with that seed; by a number, `rows[number]` as it is.

    Args:
        cache: prepared slices.
        rows: what numbers refer to; all rows of the cache by default.
        augmenter: used for a `Draw`; `None` for no change.
    """

    def __init__(self, cache: SliceCache, rows: Array | None = None, *, augmenter: Augmenter | None = None) -> None:
        self._cache = cache
        self._rows = np.arange(len(cache)) if rows is None else rows
        self._augmenter = augmenter

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | Draw) -> tuple[torch.Tensor, torch.Tensor]:
        row = index.row if isinstance(index, Draw) else self._rows[index]
        # By torch: the same numbers, several times faster than by NumPy. Channels last, as augmentation and step want.
        stored_Chw = torch.from_numpy(np.array(self._cache.images_NChw[row]))
        image_hwC = stored_Chw.permute(1, 2, 0).to(torch.float32, memory_format=torch.contiguous_format).numpy()
        mask_hw: Array = np.array(self._cache.masks_Nhw[row])
        if isinstance(index, Draw) and self._augmenter is not None:
            image_hwC, mask_hw = self._augmenter(image_hwC, mask_hw, index.seed)
        return torch.from_numpy(image_hwC).permute(2, 0, 1), torch.from_numpy(mask_hw[None].astype(np.float32))


class Plan(TypedDict):
    """What an epoch takes, and who makes which part of it: keywords of `EpochLoader`."""

    batch_size: int
    other_per_tumour: float
    seed: int
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
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._plan = EpochPlan(cache, rows, other_per_tumour=other_per_tumour, seed=seed)
        announce = partial(_fetch, cache) if read_ahead else None
        self._batches = BatchPlan(self._plan, batch_size=batch_size, rank=rank, world=world, announce=announce)
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
        plan: `batch_size`, `other_per_tumour`, `seed`, `workers`, `rank` and `world` of `EpochLoader`.
    """

    def __init__(self, cache: SliceCache, rows: Array, augmenter: Augmenter | None, **plan: Unpack[Plan]) -> None:
        super().__init__(
            SliceDataset(cache, rows, augmenter=augmenter),
            partial(_collate, shape_Chw=cache.images_NChw.shape[1:]),
            cache,
            rows,
            pin_memory=torch.cuda.is_available(),
            read_ahead=True,
            **plan,
        )


def _fetch(cache: SliceCache, draws: list[Draw]) -> None:
    cache.will_need([draw.row for draw in draws])


def _collate(items: list[Batch], *, shape_Chw: tuple[int, ...]) -> Batch:
    if not items:
        return torch.empty(0, *shape_Chw), torch.empty(0, 1, *shape_Chw[1:])
    images, masks = zip(*items, strict=True)
    # In a loader process this writes into shared memory at once, as torch's own collation does. Images stay channels
    # last, as they come: no copy changes their order.
    image_NhwC, mask_N1hw = (
        default_collate([image_Chw.permute(1, 2, 0) for image_Chw in images]),
        default_collate([*masks]),
    )
    return image_NhwC.permute(0, 3, 1, 2), mask_N1hw


def _leave_signals_to_the_training(_worker: int) -> None:
    """Signals to the whole process group stop the training, which then ends its loader processes by itself.

    For a loader process. One that nobody has ended a while after SIGTERM ends all the same: Python sends it that signal
    at exit and then waits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
