"""CSV tables, TensorBoard points, the lines, and the bar of a terminal."""

import csv
import errno
import io
import logging
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wcr_med.errors import UserError
from wcr_med.training import logs
from wcr_med.training.logs import HISTORY_NAME, TENSORBOARD_NAME, TERMS_NAME, open_run_log
from wcr_med.training.progress import EpochRow, Progress

_LOG = logging.getLogger("test.logs")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _note(progress: Progress, epoch: int, dice: float | None = None, terms: dict[str, float] | None = None) -> None:
    row = EpochRow(
        epoch=epoch, loss=1 / epoch, regularizer=sum(terms.values()) if terms else None, learning_rate=0.1,
        weight_norm=3.0, dice_patient=dice, f1_pooled=dice, images_per_second=50.0, seconds=90.0,
    )  # fmt: skip
    progress.note(row, terms or {}, validated=dice is not None)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_each_epoch_is_a_row_a_point_and_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress()
    with open_run_log(tmp_path, progress, n_epochs=3, n_steps=2, log=_LOG) as run_log:
        for epoch, dice in ((1, None), (2, 0.25)):
            _note(progress, epoch, dice, {"head.weight": 2.0, "down.weight": 0.5})
            run_log.epoch(progress)
    rows = _rows(tmp_path / HISTORY_NAME)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["dice_patient"] for row in rows] == ["", "0.25"]
    assert [row["regularizer"] for row in rows] == ["2.5", "2.5"]
    assert _rows(tmp_path / TERMS_NAME)[1] == {"epoch": "2", "head.weight": "2.0", "down.weight": "0.5"}

    events = EventAccumulator(str(tmp_path / TENSORBOARD_NAME)).Reload()
    assert [(point.step, point.value) for point in events.Scalars("training/dice_patient")] == [(2, 0.25)]
    assert [point.step for point in events.Scalars("regularizer/head.weight")] == [1, 2]
    assert "training/epoch" not in events.Tags()["scalars"]

    first, second = (record.getMessage() for record in caplog.records if record.name == _LOG.name)
    assert first == "epoch 1 of 3: loss 1.0000, regularizer 2.5, 50.0 images/s, 3 min left"
    assert "dice_patient 0.2500, f1_pooled 0.2500 (best epoch 2), 50.0 images/s, 2 min left" in second


def test_without_regularizer_there_is_no_table_of_terms(tmp_path: Path) -> None:
    progress = Progress()
    with open_run_log(tmp_path, progress, n_epochs=1, n_steps=1, log=_LOG) as run_log:
        _note(progress, 1, 0.5)
        run_log.epoch(progress)
    assert _rows(tmp_path / HISTORY_NAME)[0]["regularizer"] == ""
    assert not (tmp_path / TERMS_NAME).exists()


def test_a_resumed_log_hides_the_points_of_the_attempt_that_was_lost(tmp_path: Path) -> None:
    progress = Progress()
    with open_run_log(tmp_path, progress, n_epochs=3, n_steps=1, log=_LOG) as run_log:
        for epoch in (1, 2):
            _note(progress, epoch, 0.1)
            run_log.epoch(progress)
    progress = Progress()
    _note(progress, 1, 0.1)
    with open_run_log(tmp_path, progress, n_epochs=3, n_steps=1, log=_LOG) as run_log:
        assert len(_rows(tmp_path / HISTORY_NAME)) == 1
        _note(progress, 2, 0.7)
        run_log.epoch(progress)
    events = EventAccumulator(str(tmp_path / TENSORBOARD_NAME)).Reload()
    points = [(point.step, round(point.value, 3)) for point in events.Scalars("training/dice_patient")]
    assert points == [(1, 0.1), (2, 0.7)]


def test_long_epochs_tell_how_far_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seconds = iter(range(0, 10_000, 40))
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(seconds))
    with open_run_log(tmp_path, Progress(), n_epochs=1, n_steps=5, log=_LOG) as run_log:
        for _ in range(4):
            run_log.step()
    assert caplog.messages == [
        "step 2 of 5, 120 s to the end of the epoch",
        "step 4 of 5, 40 s to the end of the epoch",
    ]


def test_a_terminal_gets_a_bar_with_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress()
    _note(progress, 1, 0.1)
    with open_run_log(tmp_path, progress, n_epochs=2, n_steps=4, log=_LOG) as run_log:
        for _ in range(4):
            run_log.step()
    assert "4/8" in terminal.getvalue()
    assert "8/8" in terminal.getvalue()
    assert "training" in terminal.getvalue()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    progress = Progress()
    _note(progress, 1, 0.1)
    with open_run_log(tmp_path, Progress(), n_epochs=1, n_steps=1, log=_LOG) as run_log:
        with monkeypatch.context() as patch:
            patch.setattr(run_log._writer, "add_scalar", full)
            with pytest.raises(UserError, match="tensorboard: the disk is full"):
                run_log.epoch(progress)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            with pytest.raises(UserError, match=r"history\.csv: the disk is full"):
                run_log.epoch(progress)
