import multiprocessing
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.augment import build_augmenter
from wcr_med.config import AugmentConfig
from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import BatchPlan, Draw, EpochPlan, SliceDataset, balanced_rows
from wcr_med.data.loader import TrainingLoader
from wcr_med.errors import UserError


def _cache(n_tumour: int, n_other: int) -> SliceCache:
    n_slices = n_tumour + n_other
    rng = np.random.default_rng(0)
    masks_Nhw = np.zeros((n_slices, 8, 6), dtype=np.uint8)
    masks_Nhw[:n_tumour, 2:5, 2:4] = 1
    return SliceCache(
        images_NChw=rng.standard_normal((n_slices, 3, 8, 6)).astype(np.float16),
        masks_Nhw=masks_Nhw,
        patient_ids_N=np.repeat("p", n_slices),
        slice_numbers_N=np.arange(n_slices),
        has_tumour_N=np.arange(n_slices) < n_tumour,
        key="k",
    )


@settings(deadline=None, max_examples=60)
@given(
    n_tumour=st.integers(0, 12),
    n_other=st.integers(0, 30),
    ratio=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    epoch=st.integers(0, 5),
)
def test_an_epoch_takes_every_tumour_slice_once_and_others_without_repetition(
    n_tumour: int, n_other: int, ratio: float, epoch: int
) -> None:
    cache = _cache(n_tumour, n_other)
    rows = np.arange(len(cache))
    if not len(cache):
        with pytest.raises(UserError, match="no slices"):
            balanced_rows(cache, rows, other_per_tumour=ratio, seed=1, epoch=epoch)
        return
    chosen = balanced_rows(cache, rows, other_per_tumour=ratio, seed=1, epoch=epoch)
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(range(n_tumour)) <= set(chosen.tolist())
    expected = min(n_other, round(ratio * n_tumour)) if n_tumour else n_other
    assert len(chosen) == n_tumour + expected


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    cache = _cache(5, 40)
    rows = np.arange(len(cache))

    def order(seed: int, epoch: int) -> list[int]:
        return balanced_rows(cache, rows, other_per_tumour=1, seed=seed, epoch=epoch).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    drawn = {row for epoch in range(60) for row in order(0, epoch)}
    assert drawn == set(range(45))


def test_only_the_given_rows_are_drawn() -> None:
    cache = _cache(4, 10)
    chosen = balanced_rows(cache, np.array([1, 3, 9, 12]), other_per_tumour=5, seed=0, epoch=0)
    assert sorted(chosen.tolist()) == [1, 3, 9, 12]


def test_the_plan_of_an_epoch_does_not_depend_on_the_epochs_before() -> None:
    cache = _cache(6, 20)
    plans = [EpochPlan(cache, np.arange(26), other_per_tumour=1, seed=2) for _ in range(2)]
    for epoch in range(4):
        plans[0].set_epoch(epoch)
        list(plans[0])
    plans[1].set_epoch(3)
    assert list(plans[0]) == list(plans[1])
    assert len(plans[1]) == 12
    seeds = [draw.seed for draw in plans[1]]
    assert len(set(seeds)) == len(seeds)


def test_an_item_is_the_slice_of_the_cache() -> None:
    cache = _cache(2, 3)
    dataset = SliceDataset(cache, np.array([4, 1]))
    assert len(dataset) == 2
    image_Chw, mask_1hw = dataset[1]
    assert (image_Chw.dtype, mask_1hw.dtype) == (torch.float32, torch.float32)
    assert (image_Chw.shape, mask_1hw.shape) == ((3, 8, 6), (1, 8, 6))
    np.testing.assert_array_equal(image_Chw.numpy(), cache.images_NChw[1].astype(np.float32))
    np.testing.assert_array_equal(mask_1hw.numpy()[0], cache.masks_Nhw[1])
    assert len(SliceDataset(cache)) == 5


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_augmenter_gets_slices_in_the_order_of_c(dtype: type) -> None:
    cache = replace(_cache(1, 0), images_NChw=_cache(1, 0).images_NChw.astype(dtype))

    def augmenter(image_hwC: np.ndarray, mask_hw: np.ndarray, _seed: int) -> tuple[np.ndarray, np.ndarray]:
        assert image_hwC.flags.c_contiguous
        assert image_hwC.dtype == np.float32
        return image_hwC, mask_hw

    image_Chw, _ = SliceDataset(cache, augmenter=augmenter)[Draw(row=0, seed=1)]
    np.testing.assert_array_equal(image_Chw.numpy(), cache.images_NChw[0].astype(np.float32))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_channels_last(make_loader: Callable[[int], TrainingLoader], workers: int) -> None:
    loader = make_loader(workers)
    for images_NChw, _ in loader.epoch(0):
        assert images_NChw.is_contiguous(memory_format=torch.channels_last)
    loader.close()


def test_changing_an_item_does_not_change_the_cache() -> None:
    cache = _cache(2, 0)
    before = cache.masks_Nhw.copy()
    image_Chw, mask_1hw = SliceDataset(cache)[0]
    image_Chw += 1
    mask_1hw += 1
    np.testing.assert_array_equal(cache.masks_Nhw, before)


def test_a_draw_is_augmented_with_its_seed_and_a_number_is_not() -> None:
    cache = _cache(3, 0)
    seen: list[tuple[tuple[int, ...], int]] = []

    def augmenter(image_hwC: np.ndarray, mask_hw: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        seen.append((image_hwC.shape, seed))
        return image_hwC + 1, 1 - mask_hw

    dataset = SliceDataset(cache, augmenter=augmenter)
    plain = dataset[2]
    changed = dataset[Draw(row=2, seed=77)]
    assert seen == [((8, 6, 3), 77)]
    torch.testing.assert_close(changed[0], plain[0] + 1)
    torch.testing.assert_close(changed[1], 1 - plain[1])


@pytest.fixture(scope="module")
def make_loader() -> Callable[[int], TrainingLoader]:
    cache = _cache(9, 20)

    def make(workers: int) -> TrainingLoader:
        augmenter = build_augmenter(AugmentConfig(elastic=0.5))
        rows = np.arange(len(cache))
        return TrainingLoader(cache, rows, augmenter, batch_size=4, other_per_tumour=1, seed=5, workers=workers)

    return make


def test_the_loader_gives_batches_of_a_whole_epoch(make_loader: Callable[[int], TrainingLoader]) -> None:
    loader = make_loader(0)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 5
    assert [len(image) for image, _ in batches] == [4, 4, 4, 4, 2]
    assert batches[0][0].shape == (4, 3, 8, 6)
    assert batches[0][1].shape == (4, 1, 8, 6)


def test_processes_and_earlier_epochs_change_nothing(make_loader: Callable[[int], TrainingLoader]) -> None:
    expected = list(make_loader(0).epoch(2))
    loader = make_loader(2)
    for epoch in (0, 2):  # the same processes serve both
        found = list(loader.epoch(epoch))
    for (image, mask), (other_image, other_mask) in zip(found, expected, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(mask, other_mask)


def test_the_loader_leaves_the_random_state_of_the_run_alone(make_loader: Callable[[int], TrainingLoader]) -> None:
    before = torch.random.get_rng_state()
    list(make_loader(0).epoch(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_closing_ends_the_processes_although_an_exception_still_holds_the_batches(
    make_loader: Callable[[int], TrainingLoader],
) -> None:
    loader, before = make_loader(1), set(multiprocessing.active_children())

    def fail() -> None:
        for _ in loader.epoch(0):
            raise ValueError

    with pytest.raises(ValueError) as kept:  # noqa: PT011 - our own
        fail()
    mine = set(multiprocessing.active_children()) - before
    assert len(mine) == 1
    loader.close()
    assert not any(process.is_alive() for process in mine)
    loader.close()
    assert kept.traceback  # until here its frames held the iterator, so torch had not ended them


@pytest.mark.parametrize("first_step", [0, 2, 3, 4])
def test_each_batch_is_announced_while_the_one_before_is_used(first_step: int) -> None:
    cache = _cache(7, 0)
    plan = EpochPlan(cache, np.arange(7), other_per_tumour=1, seed=0)
    whole = list(BatchPlan(plan, batch_size=2))
    announced: list[list[Draw]] = []
    batches = BatchPlan(plan, batch_size=2, announce=announced.append)
    batches.first_step = first_step
    used = []
    for batch in batches:
        used.append(batch)
        assert announced == whole[first_step : first_step + len(used) + 1]
    assert used == whole[first_step:]


def test_the_loader_asks_for_the_rows_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(SliceCache, "will_need", lambda _self, rows: asked.extend(rows))
    loader = TrainingLoader(_cache(5, 0), np.arange(5), None, batch_size=2, other_per_tumour=1, seed=0)
    assert len(list(loader.epoch(0))) == 3
    assert sorted(asked) == [0, 1, 2, 3, 4]
