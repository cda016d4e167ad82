"""One step: what acts in which order, and every method resumes bit for bit."""

import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.training.tiny import SPLIT, run_tiny, tiny_cache, tiny_config
from wcr_med.config import Config
from wcr_med.models import build_model, prunable_parameters
from wcr_med.regularizers import build_regularizer, regularizer_names
from wcr_med.training import LAST_NAME, train
from wcr_med.training.checkpoint import load_checkpoint
from wcr_med.training.processor import choose_processor
from wcr_med.training.step import TrainingStep, build_step

STATEFUL: list[dict[str, Any]] = [
    {"regularizer": {"name": "wcr_quantile", "strength": 0.3}},
    {"regularizer": {"name": "gradual_magnitude", "strength": 1.0}},
    {"regularizer": {"name": "gradual_magnitude", "strength": 1.0, "schedule": {"settle": 0.5}}},
    {"regularizer": {"name": "wcr_tangential", "strength": 1.0}},
    {"regularizer": {"name": "wcr_quantile", "strength": 0.3, "cost_weight": 1.0}},
    {"optimizer": {"robust": "sam"}},
    {"optimizer": {"robust": "cram_plus"}, "regularizer": {"name": "wcr", "strength": 1e-5}},
    {"optimizer": {"robust": "s2sam", "name": "adamw", "learning_rate": 1e-3}},
    {"optimizer": {"powerpropagation": 2.0}, "regularizer": {"name": "wcr_quantile", "strength": 0.3}},
]


def step_of(config: Config) -> TrainingStep:
    model = build_model(config.model, seed=0).train()
    regularizer = build_regularizer(config.regularizer)
    return build_step(model, config, choose_processor(config.training), regularizer, n_steps=10)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    cache = tiny_cache()
    return torch.from_numpy(cache.images_NChw[:4]).float(), torch.from_numpy(cache.masks_Nhw[:4, None]).float()


@pytest.mark.parametrize("name", regularizer_names())
def test_a_regularizer_changes_the_update_only_when_its_schedule_says(name: str) -> None:
    def weights_after(step: int, **fields: Any) -> dict[str, torch.Tensor]:
        take_step = step_of(tiny_config(regularizer=fields))
        take_step(*batch(), step=step, rate=0.05)
        return {key: kernel.detach().clone() for key, kernel in take_step.kernels.items()}

    plain = weights_after(0, name="none", strength=None)
    schedule = {"start": 0.5, "ramp": 0.0, "settle": 0.3}
    for step, acts in ((0, False), (5, True), (8, False)):
        found = weights_after(step, name=name, strength=None, schedule=schedule)
        assert any(not torch.equal(found[key], plain[key]) for key in plain) == acts, step


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_a_hard_mask_outlives_its_schedule(alpha: float) -> None:
    schedule = {"start": 0.1, "ramp": 0.3, "settle": 0.4}
    regularizer = {"name": "gradual_magnitude", "strength": None, "sparsity": 0.9, "schedule": schedule}
    take_step = step_of(tiny_config(regularizer=regularizer, optimizer={"powerpropagation": alpha}))
    zeros = []
    for step in range(10):
        take_step(*batch(), step=step, rate=0.05)
        zeros.append(sum(int((kernel == 0).sum()) for kernel in take_step.kernels.values()))
    assert zeros[0] == 0
    assert zeros[5] > 0
    assert zeros[6:] == zeros[5:6] * 4


@pytest.mark.parametrize(
    "sections", STATEFUL, ids=lambda sections: "-".join(str(v) for s in sections.values() for v in s.values())
)
def test_every_method_resumes_bit_for_bit(sections: dict[str, Any], tmp_path: Path) -> None:
    config = tiny_config(**sections)
    run_tiny(tmp_path / "whole", config)

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    class Log:
        """Stands in for the log, and interrupts after the second epoch."""

        def __init__(self) -> None:
            self.epochs = 0

        def info(self, message: str, *_: object, **__: object) -> None:
            self.epochs += message == "%s"
            if self.epochs == 2:
                raise Stop

        warning = info

    with pytest.raises(Stop):
        train(
            build_model(config.model, seed=config.seed),
            tiny_cache(),
            SPLIT,
            config,
            folder=tmp_path / "cut",
            regularizer=build_regularizer(config.regularizer),
            log=Log(),  # type: ignore[arg-type]
        )
    run_tiny(tmp_path / "cut", config, resume=True)
    whole = safetensors.torch.load_file(tmp_path / "whole" / LAST_NAME)
    cut = safetensors.torch.load_file(tmp_path / "cut" / LAST_NAME)
    assert all(torch.equal(cut[name], tensor) for name, tensor in whole.items())


def test_powerpropagation_saves_weights_and_keeps_theta_in_the_state(tmp_path: Path) -> None:
    config = tiny_config(optimizer={"powerpropagation": 2.0}, regularizer={"name": "none", "strength": None})
    run_tiny(tmp_path, config)
    last = safetensors.torch.load_file(tmp_path / LAST_NAME)
    checkpoint = load_checkpoint(tmp_path, logging.getLogger("test"))
    assert checkpoint is not None
    for name in prunable_parameters(build_model(config.model, seed=0)):
        theta = checkpoint.extras[f"power/{name}"]
        torch.testing.assert_close(last[name], theta * theta.abs())
