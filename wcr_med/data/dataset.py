"""Training slices: which ones an epoch takes, in which order, with which augmentation.

Every choice is a pure function of (seed, epoch, position), so a resumed run sees the slices that an uninterrupted one
would have seen, and the number of loader processes changes nothing.

Shape suffixes: N slices of the cache, C channels, h and w rows and columns of the network's grid.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError

Array = npt.NDArray[Any]
Augmenter = Callable[[Array, Array, int], tuple[Array, Array]]
"""(image_hwC float32, mask_hw uint8, seed) -> the same two, changed."""

_ORDER, _AUGMENT = 0, 1  # separate random streams of one (seed, epoch)


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

    The last batch of an epoch may be smaller; one with fewer than `fewest` slices is joined to the batch before it.

    Args:
        plan: of the epoch.
        batch_size: slices a batch, all processes together.
        fewest: that a batch may have, see `wcr_med.models.fewest_slices`.
        rank: of this process, from 0.
        world: processes in all.
        announce: is given each batch while the one before it is still to be used; `None`: nobody wants to know.
    """

    def __init__(
        self,
        plan: EpochPlan,
        *,
        batch_size: int,
        fewest: int = 1,
        rank: int = 0,
        world: int = 1,
        announce: Callable[[list[Draw]], None] | None = None,
    ) -> None:
        self._plan = plan
        self._batch_size = batch_size
        self._fewest = fewest
        self._rank = rank
        self._world = world
        self._announce = announce or (lambda _draws: None)
        self.first_step = 0

    def __len__(self) -> int:
        """Batches of a whole epoch, the skipped ones included."""
        whole, left = divmod(len(self._plan), self._batch_size)
        joined = bool(whole) and left < self._fewest
        return whole if joined else whole + bool(left)

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
        begin = step * self._batch_size
        end = len(self._plan) if step + 1 == len(self) else begin + self._batch_size
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
        image_hwC = stored_Chw.permute(1, 2, 0).float().contiguous().numpy()
        mask_hw: Array = np.array(self._cache.masks_Nhw[row])
        if isinstance(index, Draw) and self._augmenter is not None:
            image_hwC, mask_hw = self._augmenter(image_hwC, mask_hw, index.seed)
        return torch.from_numpy(image_hwC).permute(2, 0, 1), torch.from_numpy(mask_hw[None].astype(np.float32))
