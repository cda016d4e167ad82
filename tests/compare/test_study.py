"""The study's database: shared, resumed, refused, and what a worker does when it breaks."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.compare.workers import work_in_two
from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import chosen_methods
from wcr_med.compare.plan import Cell
from wcr_med.compare.study import Study
from wcr_med.errors import UserError

Build = Callable[..., CompareConfig]


def study(config: CompareConfig, out: Path) -> Study:
    return Study(config, chosen_methods(config), out)


def test_it_hands_out_every_cell_once(comparison: Build, tmp_path: Path) -> None:
    taken: list[Cell] = []

    def run(cell: Cell) -> float:
        taken.append(cell)
        return 0.5 if cell.value is None else cell.value

    opened = study(comparison(), tmp_path)
    assert opened.work(run) == 8
    assert opened.complete
    assert [cell.phase for cell in taken] == ["tune", "tune", "final", "final"] * 2
    assert {cell.value for cell in taken if cell.phase == "final" and cell.method == "l1"} == {
        max(cell.value for cell in taken if cell.value is not None)
    }
    assert study(comparison(), tmp_path).work(run) == 0


def test_two_workers_share_it(comparison: Build, tmp_path: Path) -> None:
    config = comparison()
    taken = work_in_two(lambda: study(config, tmp_path))
    assert len(taken) == len(set(taken)) == 8
    assert study(config, tmp_path).complete


def test_cells_that_share_a_training_are_never_out_at_the_same_time(comparison: Build, tmp_path: Path) -> None:
    lamp = {"set": {"regularizer.name": "none", "pruning.score": "lamp"}}
    config = comparison({"none": None, "lamp": lamp, "l1": None}, tuning_trials=1)

    def opened() -> Study:
        return Study(
            config,
            chosen_methods(config),
            tmp_path,
            training_of=lambda cell: (cell.seed, "none" if cell.method == "lamp" else cell.method),
        )

    at_it: list[str] = []
    clashes: list[str] = []

    def meanwhile(_cell: Cell) -> float:
        """Another worker's turn, while the first cell is at work."""

        def run(cell: Cell) -> float:
            at_it.append(cell.method)
            clashes.extend(["none"] * (cell.method == "lamp" and cell.seed == 0))
            return 0.5

        return float(opened().work(run, max_trials=3))

    assert opened().work(meanwhile, max_trials=1) == 1  # none, of the first seed
    assert at_it == ["l1", "none", "l1"]  # the other seed's, rather than lamp's of the first
    assert not clashes
    assert opened().work(lambda _cell: 0.5) == 2
    assert opened().complete


def test_an_interrupted_cell_is_taken_again_and_a_failed_one_is_not(comparison: Build, tmp_path: Path) -> None:
    config = comparison(seeds=[0], tuning_trials=1)

    def interrupted(_cell: Cell) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(config, tmp_path).work(interrupted)
    taken: list[str] = []

    def run(cell: Cell) -> float:
        taken.append(cell.method)
        if cell.method == "l1":
            raise UserError("the loss is nan")
        return 0.5

    opened = study(config, tmp_path)
    opened.work(run)
    assert sorted(taken) == ["l1", "none"]
    assert opened.complete
    assert [(cell.method, message) for cell, message in opened.failures()] == [("l1", "the loss is nan")]
    assert study(config, tmp_path).work(run) == 0

    again = Study(config, chosen_methods(config), tmp_path, retry_failed=True)
    assert not again.complete
    assert again.work(lambda _cell: 0.5) == 1
    assert again.complete
    assert again.failures() == study(config, tmp_path).failures() == []


def test_cells_of_methods_that_it_does_not_know_are_left_to_others(comparison: Build, tmp_path: Path) -> None:
    fields = {"seeds": [0], "tuning_trials": 1}
    both, one = comparison(["none", "l1"], **fields), comparison(["none"], **fields)
    study(both, tmp_path).work(lambda _cell: 0.5, max_trials=1)  # none; l1 waits
    assert study(one, tmp_path).work(lambda _cell: 0.5) == 0
    taken: list[str] = []
    study(both, tmp_path).work(lambda cell: taken.append(cell.method) or 0.5)
    assert taken == ["l1"]


def test_another_recipe_under_the_same_name_is_refused(comparison: Build, tmp_path: Path) -> None:
    study(comparison(), tmp_path)
    with pytest.raises(UserError, match=r"was begun with study\.sparsities .* now it is"):
        study(comparison(sparsities=[0.5, 0.8]), tmp_path)
    run = {"training": {"epochs": 2, "batch_size": 16, "loader_workers": 0, "threads": 1}}
    with pytest.raises(UserError, match=r"run\.training\.epochs 1, now it is 2"):
        study(comparison(run=run), tmp_path)
    study(comparison(["none", "l1", "hoyer"], seeds=[0, 1, 2]), tmp_path)  # more of the same may come


def test_a_database_that_is_none_or_unreachable_is_one_line(comparison: Build, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(UserError, match=r"study\.storage sqlite:.*nothing is lost"):
        study(comparison(), tmp_path)
    with pytest.raises(UserError, match=r"study\.storage sqlite:"):
        study(comparison(storage=f"sqlite:///{tmp_path / 'nowhere' / 'study.db'}"), tmp_path)
    with pytest.raises(UserError, match=r"study\.storage"):
        study(comparison(storage="no url"), tmp_path)


def test_a_database_that_is_locked_is_one_line(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wcr_med.compare.database.LOCK_S", 0.1)
    opened = study(comparison(), tmp_path)
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(UserError, match="locked"):
            opened.work(lambda _cell: 0.5)
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert opened.work(lambda _cell: 0.5) == 8


def test_many_workers_may_be_the_first(comparison: Build, tmp_path: Path) -> None:
    config = comparison()
    for number in range(3):
        together = threading.Barrier(4, timeout=60)
        refused: list[BaseException] = []

        def open_it(out: Path, barrier: threading.Barrier, errors: list[BaseException]) -> None:
            try:
                barrier.wait()
                study(config, out)
            except BaseException as error:  # noqa: BLE001 - of a thread, to be seen by the test
                errors.append(error)

        arguments = (tmp_path / str(number), together, refused)
        threads = [threading.Thread(target=open_it, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not refused
        assert len(optuna.get_all_study_names(f"sqlite:///{tmp_path / str(number) / 'study.db'}")) == 1


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_has_a_sign_of_life_before_it_counts_as_taken(comparison: Build, tmp_path: Path) -> None:
    opened = study(comparison(), tmp_path)
    assert opened._enqueue()
    trial = opened._study.ask()  # and nothing more, as where the worker is killed at once
    assert trial._trial_id in opened._storage.heartbeats()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.parametrize("beat", [None, "2100-01-01 00:00:00"])
def test_the_cell_of_a_dead_worker_is_taken_again_whatever_the_clock_says(
    comparison: Build,
    tmp_path: Path,
    beat: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("wcr_med.compare.study.HEARTBEAT_S", 0.02)
    monkeypatch.setattr("wcr_med.compare.study._POLL_S", 0.03)
    opened = study(comparison(["none"], seeds=[0]), tmp_path)
    assert opened._enqueue()
    opened._study.ask()  # its worker is killed; of an older version, or before its clock was set back
    with sqlite3.connect(tmp_path / "study.db") as database:
        if beat is None:
            database.execute("DELETE FROM trial_heartbeats")
        else:
            database.execute("UPDATE trial_heartbeats SET heartbeat = ?", (beat,))
    database.close()
    with caplog.at_level(logging.INFO):
        assert opened.work(lambda _cell: 0.5) == 1
    assert opened.complete
    assert "waiting for other workers: final/none" in caplog.text
    assert "counts as dead, and its cell is taken again" in caplog.text
    assert "its worker has been silent for" in caplog.text


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_worker_that_gives_signs_of_life_keeps_its_cell(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wcr_med.compare.study.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("wcr_med.compare.study._POLL_S", 0.02)
    opened = study(comparison(["none"], seeds=[0]), tmp_path)
    opened._enqueue()
    trial = opened._study.ask()
    beats = iter(f"2026-01-01 00:00:{second:02d}" for second in range(60))
    monkeypatch.setattr(opened._storage, "heartbeats", lambda: {trial._trial_id: next(beats)})
    assert opened.work(lambda _cell: 0.5, seconds=0.5) == 0
    assert opened._study.trials[0].state == TrialState.RUNNING


def test_a_worker_that_was_taken_for_dead_ends_without_a_fault(
    comparison: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = study(comparison(["none"], seeds=[0]), tmp_path)

    def asleep(_cell: Cell) -> float:
        study(comparison(["none"], seeds=[0]), tmp_path)._study.tell(0, state=TrialState.FAIL)
        return 0.5

    assert opened.work(asleep, max_trials=1) == 1
    assert "the cell was given to another worker meanwhile" in caplog.text
    assert not opened.complete


def test_a_folder_that_cannot_be_written_is_one_line(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    config = comparison()
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"out: not permitted to write here; choose another --out"):
        study(config, tmp_path / "out")
