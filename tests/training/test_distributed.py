"""Several processes train as one does."""

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.training.tiny import SPLIT, run_program, run_tiny, tiny_cache, tiny_config
from wcr_med.data.loader import TrainingLoader
from wcr_med.errors import UserError
from wcr_med.models import build_model
from wcr_med.training import LAST_NAME, Group, join_group, train
from wcr_med.training.norms import synchronised_norms

FP32: dict[str, Any] = {"training": {"epochs": 2, "precision": "fp32"}}


def assert_close(folder: Path, whole: Path) -> None:
    """Weights of two trainings that differ in the order of their sums."""
    found, expected = (safetensors.torch.load_file(place / LAST_NAME) for place in (folder, whole))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text(encoding="utf-8").splitlines()))


def test_processes_train_as_one_does(tmp_path: Path) -> None:
    together = run_program(tmp_path / "together", FP32, processes=2)
    assert together.returncode == 0, together.stderr
    assert "2 processes together" in together.stderr
    assert together.stderr.count("epoch 2 of 2") == 1  # the main process alone speaks
    run_tiny(tmp_path / "alone", tiny_config(**FP32))
    assert_close(tmp_path / "together", tmp_path / "alone")
    for found, expected in zip(*map(history, (tmp_path / "together", tmp_path / "alone")), strict=True):
        assert found["dice_patient"] == expected["dice_patient"]
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)


def test_processes_without_slices_and_two_passes_a_step(tmp_path: Path) -> None:
    # 18 slices, the last batch has one: two of three processes get none. SAM soon blows rounding up: two steps.
    sections = {"training": {"epochs": 1, "batch_size": 17, "precision": "fp32"}, "optimizer": {"robust": "sam"}}
    together = run_program(tmp_path / "together", sections, processes=3)
    assert together.returncode == 0, together.stderr
    run_tiny(tmp_path / "alone", tiny_config(**sections))
    assert_close(tmp_path / "together", tmp_path / "alone")


def test_a_killed_process_is_started_again_and_the_training_goes_on(tmp_path: Path) -> None:
    sections = FP32 | {"training": FP32["training"] | {"checkpoint_minutes": 1e-9}}
    killed = run_program(tmp_path / "killed", sections, "8", str(int(signal.SIGKILL)), processes=2, restarts=1)
    assert killed.returncode == 0, killed.stderr
    assert "resumed after epoch 1 and" in killed.stderr  # the other one may have finished the step
    run_tiny(tmp_path / "alone", tiny_config(**FP32))
    assert_close(tmp_path / "killed", tmp_path / "alone")


def test_a_signal_to_one_process_stops_all_with_their_state_saved(tmp_path: Path) -> None:
    stopped = run_program(tmp_path, FP32, "3", str(int(signal.SIGTERM)), processes=2)
    assert stopped.returncode != 0
    assert "Stopped: a signal to another process: stopped after step 4 of 10" in stopped.stderr
    finished = run_program(tmp_path, FP32, processes=2)
    assert finished.returncode == 0, finished.stderr
    assert "resumed after epoch 0 and 4 steps" in finished.stderr


@pytest.mark.parametrize("n_slices", [4, 3, 1])
def test_parts_of_a_batch_in_rank_order_are_the_batch(n_slices: int) -> None:
    cache = tiny_cache()

    def loader(**which: int) -> TrainingLoader:
        rows = cache.rows(SPLIT.train)[1 : 1 + n_slices]
        return TrainingLoader(cache, rows, None, batch_size=4, other_per_tumour=1, seed=0, **which)

    whole = [batch for epoch in range(2) for batch in loader().epoch(epoch)]
    parts = [[batch for epoch in range(2) for batch in loader(rank=rank, world=3).epoch(epoch)] for rank in range(3)]
    for number, (images_NChw, masks_N1hw) in enumerate(whole):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), images_NChw)
        assert torch.equal(torch.cat([part[number][1] for part in parts]), masks_N1hw)


def test_an_epoch_goes_on_from_any_step() -> None:
    cache = tiny_cache()
    loader = TrainingLoader(cache, cache.rows(SPLIT.train), None, batch_size=4, other_per_tumour=1, seed=0)
    whole = list(loader.epoch(1))
    rest = list(loader.epoch(1, first_step=2))
    assert len(loader) == len(whole) == len(rest) + 2
    assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[2:], rest, strict=True))


def test_different_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def others_are(other: dict[str, Any]) -> None:
        def gather(heard: list[Any], own: dict[str, Any], group: object) -> None:
            heard[:] = [own, other]

        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)

    group = Group(rank=0, world=2)
    own = {"training": {"batch_size": 8}, "data": "abc"}
    others_are({"training.batch_size": 8, "data": "abc"})
    group.require_equal(own)
    others_are({"training.batch_size": 16, "data": "abc"})
    with pytest.raises(UserError, match=r"training\.batch_size is 8 in process 0 and 16 in process 1; start all with"):
        group.require_equal(own)
    others_are({"training.batch_size": 8, "data": "xyz"})
    with pytest.raises(UserError, match="processes 0 and 1 see different images or masks"):
        group.require_equal(own)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused = pytest.raises(UserError, match="4 processes on a machine with 2 GPUs; give torchrun --nproc-per-node 2")
    with refused, join_group("auto"):
        pass


def test_one_process_leaves_the_norms_alone() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2))
    norm = model[0]
    with synchronised_norms(model, Group()):
        assert model[0] is norm


class _Greedy(nn.Module):
    """Has memory for so many slices, and no more."""

    def __init__(self, inner: nn.Module, most: int, failure: Callable[[], RuntimeError]) -> None:
        super().__init__()
        self.inner, self._most, self._failure = inner, most, failure

    def forward(self, images_NChw: torch.Tensor) -> torch.Tensor:
        if len(images_NChw) > self._most:
            raise self._failure()
        result: torch.Tensor = self.inner(images_NChw)
        return result


@pytest.mark.parametrize(
    ("most", "advice"),
    [(2, "2 fits: set training.batch_size to 2"), (1, "1 fits"), (0, "a single slice does not fit")],
)
@pytest.mark.parametrize(
    "failure",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
    ids=["gpu", "host"],
)
def test_out_of_memory_says_which_batch_fits(
    tmp_path: Path, most: int, advice: str, failure: Callable[[], RuntimeError]
) -> None:
    config = tiny_config(regularizer={"name": "none", "strength": None})
    model = _Greedy(build_model(config.model, seed=0), most, failure)
    with pytest.raises(UserError, match=advice):
        train(model, tiny_cache(), SPLIT, config, folder=tmp_path)
