"""What a training leaves behind, that it learns, and how it stops."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.training.tiny import SPLIT, ActAtStep, run_tiny, tiny_cache, tiny_config
from wcr_med.errors import UserError
from wcr_med.models import build_model, prunable_parameters
from wcr_med.regularizers import L1
from wcr_med.training import BEST_NAME, LAST_NAME, ValidationScores, choose_processor, train, validate
from wcr_med.training.checkpoint import STATE_NAME
from wcr_med.training.epochs import Losses
from wcr_med.training.progress import Part


def test_learns_and_returns_the_best_weights(tmp_path: Path) -> None:
    config = tiny_config(
        model={"features": 4},
        training={"epochs": 7, "batch_size": 2, "precision": "fp32"},
        optimizer={"name": "adamw", "learning_rate": 0.01},
        augment={"enabled": False},
    )
    model = build_model(config.model, seed=0)
    result = train(model, tiny_cache(), SPLIT, config, folder=tmp_path)
    assert result.best_dice is not None
    assert result.best_dice > 0.8
    assert result.epochs_run == 7
    assert not result.stopped_early
    assert not model.training
    best = safetensors.torch.load_file(tmp_path / BEST_NAME)
    assert all(torch.equal(best[key], tensor) for key, tensor in model.state_dict().items())
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    processor = choose_processor(config.training)
    scores = validate(model, tiny_cache(), SPLIT.validation, processor, batch_size=8)
    assert scores.dice_patient == pytest.approx(result.best_dice, abs=0.01)
    names = {path.name for path in tmp_path.iterdir()}
    assert {BEST_NAME, LAST_NAME, STATE_NAME, "history.csv", "tensorboard"} <= names
    assert "regularizer_terms.csv" not in names


def test_the_regularizer_is_added_after_the_clip_and_times_its_strength(tmp_path: Path) -> None:
    """With a clip far below it, the first step of plain SGD is that of the regularizer alone."""
    config = tiny_config(
        training={"epochs": 1, "batch_size": 100, "gradient_clip": 1e-12, "warmup_epochs": 0.0},
        optimizer={"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.5},
        regularizer={"name": "l1", "strength": 0.001},
    )
    run_tiny(tmp_path, config)
    before = prunable_parameters(build_model(config.model, seed=0))
    after = safetensors.torch.load_file(tmp_path / LAST_NAME)
    for name, kernel in before.items():
        expected = kernel.detach() - 0.5 * 0.001 * kernel.detach().sign()
        torch.testing.assert_close(after[name], expected, rtol=0, atol=1e-7)


def test_the_clip_bounds_the_step(tmp_path: Path) -> None:
    config = tiny_config(
        training={"epochs": 1, "batch_size": 100, "gradient_clip": 0.01, "warmup_epochs": 0.0},
        optimizer={"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1.0},
        regularizer={"name": "none"},
    )
    run_tiny(tmp_path, config)
    before = dict(build_model(config.model, seed=0).named_parameters())
    after = safetensors.torch.load_file(tmp_path / LAST_NAME)
    moved = math.sqrt(sum((after[name] - tensor.detach()).square().sum().item() for name, tensor in before.items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_no_clip_where_it_is_zero(tmp_path: Path) -> None:
    shared = {"epochs": 1, "batch_size": 100, "warmup_epochs": 0.0}
    run_tiny(tmp_path / "none", tiny_config(training={**shared, "gradient_clip": 0.0}))
    run_tiny(tmp_path / "wide", tiny_config(training={**shared, "gradient_clip": 1e9}))
    free, wide = (safetensors.torch.load_file(tmp_path / name / LAST_NAME) for name in ("none", "wide"))
    assert all(torch.equal(free[key], wide[key]) for key in free)


def test_stops_when_patience_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = ValidationScores(dice_patient=0.5, f1_pooled=0.5, measured=True)
    monkeypatch.setattr("wcr_med.training.epochs.validate", lambda *_, **__: scores)  # no better than the first time
    config = tiny_config(training={"epochs": 50, "patience": 2, "validate_every": 2})
    result = run_tiny(tmp_path, config)
    assert result.stopped_early
    assert result.best_epoch == 2
    assert result.epochs_run == 6
    assert run_tiny(tmp_path, config, resume=True) == result


def test_the_last_epoch_is_validated_in_any_case(tmp_path: Path) -> None:
    result = run_tiny(tmp_path, tiny_config(training={"epochs": 3, "validate_every": 2}))
    history = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()
    column = history[0].split(",").index("dice_patient")
    assert [bool(line.split(",")[column]) for line in history[1:]] == [False, True, True]
    assert result.best_epoch in (2, 3)


def test_a_loss_that_is_not_a_number_names_its_step_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    config = tiny_config(training={"epochs": 3})
    with pytest.raises(UserError, match=r"the loss is nan at step 8; .* lower optimizer\.learning_rate"):
        run_tiny(tmp_path, config, regularizer=_PoisonAtStep(7))
    state = safetensors.torch.load_file(tmp_path / STATE_NAME)
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert run_tiny(tmp_path, config, resume=True).epochs_run == 3


def test_weights_that_are_not_numbers_after_the_last_step_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a weight is NaN or infinite after step 5"):
        run_tiny(tmp_path, tiny_config(), regularizer=_PoisonAtStep(5))
    assert not (tmp_path / STATE_NAME).exists()


def test_losses_are_added_up_and_the_last_is_checked_too() -> None:
    losses = Losses(first_step=10, done=Part(steps=1, loss_sum=0.5))
    for value in (1.0, 2.0, 6.0):
        losses.add(torch.tensor(value))
    assert losses.sum() == losses.sum() == 9.5
    losses = Losses(first_step=10, done=Part())
    losses.add(torch.tensor(1.0))
    losses.add(torch.tensor(float("inf")))
    with pytest.raises(UserError, match="inf at step 12"):
        losses.sum()


def test_other_seeds_give_other_weights_and_equal_seeds_equal_ones(tmp_path: Path) -> None:
    config = tiny_config(training={"epochs": 1})
    for name in ("one", "two"):
        run_tiny(tmp_path / name, config)
    run_tiny(tmp_path / "other", config.model_copy(update={"seed": 1}))
    one, two, other = (safetensors.torch.load_file(tmp_path / name / LAST_NAME) for name in ("one", "two", "other"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        run_tiny(tmp_path / "file" / "run", tiny_config(training={"epochs": 1}))


def test_the_regularizer_is_called_once_a_step(tmp_path: Path) -> None:
    reached: list[bool] = []
    run_tiny(tmp_path, tiny_config(), regularizer=ActAtStep(20, lambda: reached.append(True)))
    assert reached == [True]


class _PoisonAtStep(L1):
    """Gives one weight a gradient that is not a number."""

    def __init__(self, step: int) -> None:
        self._left = step

    def add_gradient_(self, parameters: Mapping[str, torch.Tensor], strength: float) -> None:
        self._left -= 1
        first = next(iter(parameters.values()))
        assert first.grad is not None
        if self._left == 0:
            first.grad[0, 0, 0, 0] = float("nan")
