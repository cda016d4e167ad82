"""No step asks the device for a value, so the host can run ahead of a GPU.

On the device "meta" tensors have no values: whatever asks for one fails there.
"""

import contextlib
from typing import Any

import pytest
import torch

from tests.training.tiny import tiny_config
from wcr_med.augment import Augmentation, noise_bank
from wcr_med.config import AugmentConfig
from wcr_med.models import build_model
from wcr_med.regularizers import build_regularizer, regularizer_names
from wcr_med.training.augment_on_device import apply_changes, batch_changes
from wcr_med.training.processor import Processor
from wcr_med.training.step import build_step

_META = torch.device("meta")


class _Meta(Processor):
    def autocast(self) -> Any:
        return contextlib.nullcontext()  # torch.autocast does not know the device


@pytest.mark.parametrize(
    ("regularizer", "optimizer"),
    [
        *((name, {}) for name in ("none", *regularizer_names())),
        *(("none", {"robust": name}) for name in ("sam", "cram_plus", "s2sam")),
        ("wcr_quantile", {"powerpropagation": 2.0}),
        ("none", {"name": "adamw"}),
    ],
)
def test_a_step_does_not_wait(regularizer: str, optimizer: dict[str, object]) -> None:
    schedule = {"start": 0.0, "ramp": 0.0, "settle": 0.0}
    config = tiny_config(regularizer={"name": regularizer, "strength": None, "schedule": schedule}, optimizer=optimizer)
    processor = _Meta(device=_META, precision=torch.float32)
    model = processor.place_model(build_model(config.model, seed=0)).train()
    step = build_step(model, config, processor, build_regularizer(config.regularizer), n_steps=8)
    images, masks = torch.empty(2, 3, 32, 32, device=_META), torch.empty(2, 1, 32, 32, device=_META)
    for number in range(4):
        loss = step(images, masks, step=number, rate=0.1)
    assert loss.device == _META


def test_augmentation_on_the_device_does_not_wait() -> None:
    augmentation = Augmentation(AugmentConfig(elastic=0.5))
    changes = [augmentation.draw((32, 32, 3), seed) for seed in range(6)]
    images, masks = apply_changes(
        torch.empty(6, 3, 32, 32, device=_META),
        torch.empty(6, 1, 32, 32, device=_META),
        batch_changes(changes, columns=32).to(_META),
        torch.from_numpy(noise_bank(32 * 32 * 3)).to(_META),
    )
    assert (images.shape, masks.shape) == ((6, 3, 32, 32), (6, 1, 32, 32))
