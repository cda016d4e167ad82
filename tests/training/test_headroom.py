"""Warnings of short memory, with made-up figures."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.tiny import tiny_cache, tiny_config
from wcr_med.models import build_model
from wcr_med.training import headroom
from wcr_med.training.headroom import StepMemory, memory_warning, shared_memory_warning, step_memory, warn_if_short

_MIB = 1 << 20
_STEP = StepMemory(fixed=100 * _MIB, a_slice=50 * _MIB)


def test_a_small_dev_shm_is_told_with_its_remedies() -> None:
    assert shared_memory_warning(needed=64 * _MIB, free=64 * _MIB, workers=2) is None
    assert shared_memory_warning(needed=64 * _MIB, free=None, workers=2) is None
    line = shared_memory_warning(needed=65 * _MIB, free=64 * _MIB, workers=2)
    assert line is not None
    for part in ("/dev/shm has 67 MB free", "68 MB", "--shm-size=128m", "emptyDir", "training.loader_workers to 0"):
        assert part in line


def test_short_memory_is_told_with_the_batch_that_fits() -> None:
    sizes = {"n_batch": 16, "others": 100 * _MIB}
    assert memory_warning(_STEP, **sizes, processes=1, available=1000 * _MIB) is None
    assert memory_warning(_STEP, **sizes, processes=1, available=None) is None
    assert memory_warning(None, **sizes, processes=1, available=0) is None
    line = memory_warning(_STEP, **sizes, processes=1, available=999 * _MIB)
    assert line is not None
    assert "1.0 GB of memory, and 1.0 GB are available" in line
    assert "training.batch_size to 15" in line
    assert "streamed" not in line
    two = memory_warning(_STEP, **sizes, processes=2, available=999 * _MIB, held=50 * _MIB)
    assert two is not None
    assert "training.batch_size to 12" in two  # six in each process
    assert "training.slices to streamed" in two
    none = memory_warning(_STEP, **sizes, processes=1, available=150 * _MIB)
    assert none is not None
    assert "training.batch_size to" not in none
    assert "lower training.batch_size and model.features" in none


def test_a_convolution_keeps_its_input_for_every_slice() -> None:
    config = tiny_config(training={"precision": "fp32"})
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    image, features = 4 * 3 * 16 * 16, 4 * 8 * 16 * 16
    step = step_memory(model, config, (3, 16, 16), 5)
    assert step is not None
    assert step.fixed == 3 * weights
    assert step.a_slice == math.ceil(image + features + headroom._PASSING * features)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    adamw = step_memory(model, tiny_config(optimizer={"name": "adamw"}), (3, 16, 16), 5)
    assert adamw is not None
    assert adamw.fixed == 4 * weights


def test_a_network_that_needs_numbers_is_not_measured() -> None:
    class Peeking(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if image.sum().item() > 0 else -image

    assert step_memory(Peeking(), tiny_config(), (3, 8, 8), 1) is None


@pytest.mark.parametrize("name", ["buda_unet", "monai_unet", "smp_unet"])
def test_networks_are_measured_and_grow_with_their_features(name: str) -> None:
    sizes = []
    for features in (4, 8):
        config = tiny_config(model={"name": name, "features": features})
        step = step_memory(build_model(config.model, seed=0), config, (3, 64, 64), 2)
        assert step is not None
        sizes.append(step.a_slice)
    assert 0 < sizes[0] <= sizes[1]


def _warn(
    caplog: pytest.LogCaptureFixture,
    *,
    workers: int = 2,
    streamed: bool = True,
    on_disk: bool = True,
    device: str = "cpu",
) -> list[str]:
    caplog.clear()
    config = tiny_config(training={"loader_workers": workers})
    cache = tiny_cache()
    warn_if_short(
        build_model(config.model, seed=0),
        replace(cache, folder=Path("somewhere")) if on_disk else cache,
        config,
        device=torch.device(device),
        streamed=streamed,
        n_slices=10,
    )
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_a_training_is_warned_of_all_that_is_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(headroom, "_free_bytes", lambda _: 1 << 40)
    monkeypatch.setattr(headroom, "available_memory", lambda: 1 << 40)
    assert _warn(caplog) == []
    monkeypatch.setattr(headroom, "_free_bytes", lambda _: 1000)
    monkeypatch.setattr(headroom, "available_memory", lambda: 1000)
    shared, slow, memory = _warn(caplog)
    assert shared.startswith("WARNING /dev/shm has 0 MB free")
    assert slow.startswith("INFO the prepared slices take")
    assert memory.startswith("WARNING the training needs about")
    (memory,) = _warn(caplog, workers=0, on_disk=False)
    assert "training.slices" not in memory
    (memory,) = _warn(caplog, streamed=False)
    assert "set training.slices to streamed" in memory
    assert _warn(caplog, workers=0, on_disk=False, device="cuda") == []
