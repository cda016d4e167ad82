"""Slices in the device's memory: the batches of the streamed loader, augmented where they lie."""

import numpy as np
import pytest
import torch

from tests.training.tiny import SPLIT, tiny_cache, tiny_config
from wcr_med.augment import build_augmenter
from wcr_med.config import AugmentConfig
from wcr_med.data.loader import TrainingLoader
from wcr_med.errors import UserError
from wcr_med.models import build_model
from wcr_med.training import loaders
from wcr_med.training.loaders import open_loader
from wcr_med.training.processor import Processor
from wcr_med.training.resident import ResidentLoader, resident_bytes

_CPU = torch.device("cpu")
_PLAN = {"batch_size": 4, "other_per_tumour": 0.5, "seed": 3}


def _resident(augment: AugmentConfig, *, workers: int = 0, rank: int = 0, world: int = 1) -> ResidentLoader:
    cache = tiny_cache()
    rows = cache.rows(SPLIT.train)
    return ResidentLoader(cache, rows, augment, device=_CPU, workers=workers, rank=rank, world=world, **_PLAN)


def _streamed(augment: AugmentConfig) -> TrainingLoader:
    cache = tiny_cache()
    return TrainingLoader(cache, cache.rows(SPLIT.train), build_augmenter(augment), **_PLAN)


def test_without_augmentation_the_batches_are_those_of_the_streamed_loader() -> None:
    off = AugmentConfig(enabled=False)
    found, expected = _resident(off), _streamed(off)
    assert len(found) == len(expected) == 5
    for first_step in (0, 3):
        batches = list(found.epoch(2, first_step=first_step))
        assert len(batches) == 5 - first_step
        for (image, mask), (other_image, other_mask) in zip(
            batches, expected.epoch(2, first_step=first_step), strict=True
        ):
            assert (image.dtype, mask.dtype) == (torch.float32, torch.float32)
            assert torch.equal(image, other_image)
            assert torch.equal(mask, other_mask)


def test_augmented_they_agree_but_for_interpolation() -> None:
    augment = AugmentConfig(elastic=0.5)
    for (image, mask), (other_image, other_mask) in zip(
        _resident(augment).epoch(1), _streamed(augment).epoch(1), strict=True
    ):
        assert image.shape == other_image.shape
        # The slices are white noise, on which a 32nd of a pixel shows most.
        assert (image - other_image).abs().mean() < 0.03
        assert (mask == other_mask).float().mean() > 0.99


def test_processes_and_earlier_epochs_change_nothing() -> None:
    augment = AugmentConfig(elastic=0.5)
    expected = list(_resident(augment).epoch(2))
    loader = _resident(augment, workers=1)
    for epoch in (0, 2):
        found = list(loader.epoch(epoch))
    for (image, mask), (other_image, other_mask) in zip(found, expected, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(mask, other_mask)


def test_the_parts_of_all_ranks_are_the_batch() -> None:
    off = AugmentConfig(enabled=False)
    parts = [list(_resident(off, rank=rank, world=3).epoch(0)) for rank in range(3)]
    for step, (image, mask) in enumerate(_resident(off).epoch(0)):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), image)
        assert torch.equal(torch.cat([part[step][1] for part in parts]), mask)
    empty = AugmentConfig()
    images = [len(image) for image, _ in _resident(empty, rank=3, world=4).epoch(0)]
    assert images == [1, 1, 1, 1, 0]


def test_only_training_rows_are_kept() -> None:
    cache = tiny_cache()
    rows = cache.rows(SPLIT.train)
    loader = _resident(AugmentConfig(enabled=False))
    kept = (loader._images_NhwC.nbytes + loader._masks_Nhw.nbytes, len(loader._images_NhwC))
    assert kept == (resident_bytes(cache, len(rows)), len(rows))
    np.testing.assert_array_equal(loader._images_NhwC[2].permute(2, 0, 1).numpy(), cache.images_NChw[rows[2]])
    assert resident_bytes(cache, 0) == 0


def _open(slices: str, device: str) -> object:
    cache = tiny_cache()
    config = tiny_config(training={"slices": slices})
    processor = Processor(device=torch.device(device), precision=torch.float32)
    return open_loader(build_model(config.model), cache, cache.rows(SPLIT.train), config, processor)


@pytest.mark.parametrize(
    ("slices", "expected"), [("auto", TrainingLoader), ("streamed", TrainingLoader), ("device", ResidentLoader)]
)
def test_on_a_cpu_slices_are_streamed_unless_asked_otherwise(slices: str, expected: type) -> None:
    assert isinstance(_open(slices, "cpu"), expected)


def test_on_cuda_half_of_the_free_memory_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert loaders._on_device("auto", 499, cuda)
    assert not loaders._on_device("auto", 500, cuda)
    assert loaders._on_device("device", 999, cuda)
    assert not loaders._on_device("streamed", 1, cuda)
    with pytest.raises(UserError, match=r"training\.slices is device, but"):
        loaders._on_device("device", 1000, cuda)
