"""Batch norm over one value: a batch of one slice, where a network has shrunk the grid to one pixel."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.tiny import SPLIT, tiny_cache, tiny_config
from wcr_med.config import ModelConfig
from wcr_med.data.dataset import BatchPlan, EpochPlan
from wcr_med.data.loader import TrainingLoader
from wcr_med.errors import UserError
from wcr_med.models import build_model, fewest_slices
from wcr_med.models.build import _BUILDERS
from wcr_med.pruning import reestimate_statistics_
from wcr_med.training import train
from wcr_med.training.loaders import open_loader
from wcr_med.training.processor import PLAIN_CPU

ENCODER = "tu-mobilenetv3_small_050"
each_network = pytest.mark.parametrize("name", list(_BUILDERS))


def grid(name: str) -> int:
    """The size that the network shrinks to one pixel."""
    return 32 if name == "smp_unet" else 16


def network(name: str) -> nn.Module:
    return build_model(ModelConfig(name=name, features=2, encoder=ENCODER), seed=0)


@each_network
def test_what_a_network_needs_is_what_torch_asks_for(name: str) -> None:
    model, size = network(name), grid(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert fewest_slices(model, (3, size, size)) == 2
    assert fewest_slices(model, (3, 2 * size, size)) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.zeros(1, 3, size, size))
    model(torch.zeros(2, 3, size, size))
    model(torch.zeros(1, 3, 2 * size, size))


def test_a_network_without_batch_norm_needs_one() -> None:
    assert fewest_slices(nn.Conv2d(3, 1, 1), (3, 1, 1)) == 1


@each_network
def test_batches_of_one_are_refused_before_the_first_step(name: str, tmp_path: Path) -> None:
    size = grid(name)
    sections = {"name": name, "features": 2, "encoder": ENCODER}
    config = tiny_config(
        model=sections, preprocess={"height": size, "width": size}, training={"batch_size": 1, "epochs": 1}
    )
    with pytest.raises(UserError, match=r"^training\.batch_size: is 1, and .* to one, .*; set it to 2 or more$"):
        train(network(name), tiny_cache(size), SPLIT, config, folder=tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_an_odd_last_slice_is_joined_to_the_batch_before_it(tmp_path: Path) -> None:
    config = tiny_config(
        preprocess={"height": 16, "width": 16}, training={"batch_size": 17, "epochs": 1}, augment={"enabled": False}
    )
    cache = tiny_cache(16)
    model = build_model(config.model, seed=0)
    loader = open_loader(model, cache, cache.rows(SPLIT.train), config, PLAIN_CPU)
    assert [len(images) for images, _ in loader.epoch(0)] == [18]
    assert len(loader) == 1
    assert train(model, cache, SPLIT, config, folder=tmp_path / "train").epochs_run == 1


def test_one_training_slice_is_refused() -> None:
    config, cache = tiny_config(preprocess={"height": 16, "width": 16}), tiny_cache(16)
    model = build_model(config.model, seed=0)
    with pytest.raises(UserError, match=r"an epoch has 1 training slice, .*train on more patients"):
        open_loader(model, cache, cache.rows(SPLIT.train)[:1], config, PLAIN_CPU)


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize(
    ("batch_size", "fewest", "expected"),
    [(17, 1, [17, 1]), (17, 2, [18]), (9, 2, [9, 9]), (8, 2, [8, 8, 2]), (20, 2, [18]), (1, 1, [1] * 18)],
)
def test_only_a_batch_with_too_few_is_joined(batch_size: int, fewest: int, expected: list[int], world: int) -> None:
    cache = tiny_cache(16)
    plan = EpochPlan(cache, cache.rows(SPLIT.train), other_per_tumour=1, seed=0)
    parts = [list(BatchPlan(plan, batch_size=batch_size, fewest=fewest, rank=r, world=world)) for r in range(world)]
    whole = [list(chain(*pieces)) for pieces in zip(*parts, strict=True)]
    assert [len(batch) for batch in whole] == expected
    assert list(chain(*whole)) == list(plan)


def test_where_nothing_is_odd_batches_are_as_before() -> None:
    cache, config = tiny_cache(32), tiny_config()
    rows = cache.rows(SPLIT.train)
    options = {"batch_size": config.training.batch_size, "other_per_tumour": 1.0, "seed": config.seed}
    plain = TrainingLoader(cache, rows, None, **options)
    config = config.model_copy(update={"augment": config.augment.model_copy(update={"enabled": False})})
    opened = open_loader(build_model(config.model, seed=0), cache, rows, config, PLAIN_CPU)
    pairs = zip(plain.epoch(1), opened.epoch(1), strict=True)
    assert all(torch.equal(a, b) for first, second in pairs for a, b in zip(first, second, strict=True))


def test_statistics_are_estimated_anew_with_an_odd_last_slice() -> None:
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model, same = network("buda_unet").eval(), network("buda_unet").eval()
    record = reestimate_statistics_(model, [images[:2], images[2:4], images[4:]])
    assert (record["n_batches"], record["n_images"]) == (2, 5)
    reestimate_statistics_(same, [images[:2], images[2:]])
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))
    with pytest.raises(UserError, match=r"pruning\.repair_slices: .*set it to 2 or more"):
        reestimate_statistics_(model, [images[:1]])
