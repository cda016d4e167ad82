"""A training that is killed and resumed ends with the weights of one that was not, bit for bit."""

import csv
import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.training.tiny import ActAtStep, run_program, run_tiny, tiny_config
from wcr_med.errors import Stopped, UserError
from wcr_med.training import BEST_NAME, LAST_NAME
from wcr_med.training.checkpoint import PREVIOUS_NAME, STATE_NAME, load_checkpoint

_STEPS = 5  # of an epoch: 12 slices with tumour and 6 without, 4 a batch
_TIMES = {"seconds", "images_per_second"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    run_tiny(folder, tiny_config())
    return folder


class _Stop(Exception):  # noqa: N818 - not an error
    """An interruption without a process of its own."""


def _stop_at(step: int) -> ActAtStep:
    def stop() -> None:
        raise _Stop

    return ActAtStep(step, stop)


def _assert_same(folder: Path, whole: Path) -> None:
    for name in (STATE_NAME, BEST_NAME, LAST_NAME):
        found = safetensors.torch.load_file(folder / name)
        expected = safetensors.torch.load_file(whole / name)
        assert found.keys() == expected.keys()
        for key in expected:
            assert torch.equal(found[key], expected[key]), f"{name}: {key}"
    for name in ("history.csv", "regularizer_terms.csv"):
        assert _rows(folder / name) == _rows(whole / name)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return [{key: value for key, value in row.items() if key not in _TIMES} for row in csv.DictReader(stream)]


def test_killed_in_the_middle_of_a_step(tmp_path: Path, whole: Path) -> None:
    killed = run_program(tmp_path, {}, str(2 * _STEPS + 3), str(int(signal.SIGKILL)))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(_rows(tmp_path / "history.csv")) == 2
    assert not (tmp_path / LAST_NAME).exists()
    # Where slices are augmented must not matter either.
    result = run_tiny(tmp_path, tiny_config(training={"loader_workers": 1}), resume=True)
    assert result.epochs_run == 4
    _assert_same(tmp_path, whole)


def test_killed_again_and_again_at_random_steps(tmp_path: Path, whole: Path) -> None:
    rng = np.random.default_rng(0)
    every_step = {"training": {"checkpoint_minutes": 1e-9}}
    done = 0
    for _ in range(3):
        step = int(rng.integers(2, 7))
        killed = run_program(tmp_path, every_step, str(step), str(int(signal.SIGKILL)))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        done += step - 1  # the step in which it died is lost, and no other
        assert _steps_saved(tmp_path) == done
    run_tiny(tmp_path, tiny_config(), resume=True)
    _assert_same(tmp_path, whole)


def _steps_saved(folder: Path) -> int:
    checkpoint = load_checkpoint(folder, logging.getLogger("test"))
    assert checkpoint is not None
    return _STEPS * checkpoint.progress.epochs_done + checkpoint.progress.part.steps


@pytest.mark.parametrize("step", [1, _STEPS + 2, 2 * _STEPS])
def test_a_signal_lets_the_step_finish_and_loses_nothing(tmp_path: Path, whole: Path, step: int) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    asking = ActAtStep(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match=f"SIGTERM: stopped after step {step} of 20, .* give the same command to go on"):
        run_tiny(tmp_path, tiny_config(), regularizer=asking)
    assert _steps_saved(tmp_path) == step
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run_tiny(tmp_path, tiny_config(), resume=True)
    _assert_same(tmp_path, whole)


def test_a_signal_in_the_last_step_finishes_the_training(tmp_path: Path, whole: Path) -> None:
    asking = ActAtStep(4 * _STEPS, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run_tiny(tmp_path, tiny_config(), regularizer=asking).epochs_run == 4
    _assert_same(tmp_path, whole)


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, tiny_config(), regularizer=ActAtStep(2, interrupt_twice))


@pytest.mark.parametrize("optimizer", [{"robust": "cram_plus"}, {"robust": "s2sam"}, {"powerpropagation": 2.0}])
def test_every_method_goes_on_within_an_epoch(tmp_path: Path, optimizer: dict[str, object]) -> None:
    config = tiny_config(optimizer=optimizer, training={"epochs": 2})
    run_tiny(tmp_path / "whole", config)
    with pytest.raises(Stopped):
        run_tiny(
            tmp_path / "cut",
            config,
            regularizer=ActAtStep(_STEPS + 3, lambda: os.kill(os.getpid(), signal.SIGTERM)),
        )
    run_tiny(tmp_path / "cut", config, resume=True)
    _assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("optimizer", [{"name": "adamw", "learning_rate": 1e-3}, {"momentum": 0.0}])
def test_every_optimizer_resumes(tmp_path: Path, optimizer: dict[str, object]) -> None:
    config = tiny_config(optimizer=optimizer, training={"epochs": 3})
    run_tiny(tmp_path / "whole", config)
    with pytest.raises(_Stop):
        run_tiny(tmp_path / "stopped", config, regularizer=_stop_at(_STEPS + 2))
    run_tiny(tmp_path / "stopped", config, resume=True)
    _assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_damaged_newest_state_falls_back_to_the_one_before(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(_Stop):
        run_tiny(tmp_path, tiny_config(), regularizer=_stop_at(3 * _STEPS + 1))
    newest = tmp_path / STATE_NAME
    newest.write_bytes(newest.read_bytes()[:-100])
    run_tiny(tmp_path, tiny_config(), resume=True)
    assert f"{newest}: damaged" in caplog.text
    _assert_same(tmp_path, whole)


def test_a_kill_between_the_two_renames_loses_one_epoch_at_most(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(_Stop):
        run_tiny(tmp_path, tiny_config(), regularizer=_stop_at(2 * _STEPS + 1))
    (tmp_path / STATE_NAME).replace(tmp_path / PREVIOUS_NAME)
    run_tiny(tmp_path, tiny_config(), resume=True)
    _assert_same(tmp_path, whole)


def test_finished_training_is_returned_as_it_is(tmp_path: Path) -> None:
    config = tiny_config(training={"epochs": 1})
    first = run_tiny(tmp_path, config)
    state = (tmp_path / STATE_NAME).read_bytes()
    (tmp_path / "history.csv").unlink()
    assert run_tiny(tmp_path, config, resume=True) == first
    assert (tmp_path / STATE_NAME).read_bytes() == state
    assert len(_rows(tmp_path / "history.csv")) == 1


def test_resume_without_a_state_starts_from_the_first_step(tmp_path: Path, whole: Path) -> None:
    run_tiny(tmp_path / "new", tiny_config(), resume=True)
    _assert_same(tmp_path / "new", whole)


def test_without_resume_an_earlier_training_is_forgotten(tmp_path: Path, whole: Path) -> None:
    run_tiny(tmp_path, tiny_config(optimizer={"learning_rate": 0.01}))
    run_tiny(tmp_path, tiny_config())
    _assert_same(tmp_path, whole)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize(
    ("changed", "field", "before", "now"),
    [
        ({"regularizer": {"strength": 0.5}}, "regularizer.strength", "1e-05", "0.5"),
        ({"training": {"epochs": 9}}, "training.epochs", "4", "9"),
        ({"optimizer": {"name": "adamw"}}, "optimizer.name", "sgd", "adamw"),
        ({"model": {"features": 3}}, "model.features", "2", "3"),
        ({"augment": {"noise": 0.5}}, "augment.noise", "0.05", "0.5"),
    ],
)
def test_changed_configuration_is_named_with_both_values(
    whole: Path, changed: dict[str, dict[str, object]], field: str, before: str, now: str
) -> None:
    state = (whole / STATE_NAME).read_bytes()
    with pytest.raises(UserError, match=f"began with {field} {before}, now it is {now};"):
        run_tiny(whole, tiny_config(**changed), resume=True)
    assert (whole / STATE_NAME).read_bytes() == state


def test_threads_workers_and_device_may_change(whole: Path) -> None:
    run_tiny(whole, tiny_config(training={"threads": 2, "loader_workers": 1, "device": "cpu"}), resume=True)
