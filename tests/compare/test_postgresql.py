"""A study in a PostgreSQL database: workers share it, and one that is killed leaves nothing undone."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.compare.workers import work_in_two
from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import chosen_methods
from wcr_med.compare.plan import Cell
from wcr_med.compare.study import Study
from wcr_med.errors import UserError

Build = Callable[..., CompareConfig]
URL = "postgresql+psycopg://"
"""Everything else is in libpq's variables, as deploy/ has it."""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """A private server on a socket of its own; gives the variables that lead to it."""
    pytest.importorskip("psycopg")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("initdb") or (folders and folders[-1] / "initdb")
    if not found:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    programs = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path, since it holds a socket
    user: tuple[str, ...] = ()
    if os.geteuid() == 0:  # which the server refuses
        shutil.chown(folder, "nobody")
        user = ("setpriv", "--reuid=nobody", "--clear-groups")
    data = str(folder / "data")
    made = [
        "--pgdata",
        data,
        "--username",
        "wcr_med",
        "--auth",
        "trust",
        "--no-locale",
        "--encoding",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run([*user, str(programs / "initdb"), *made], check=True, capture_output=True, cwd=folder)
    control = [*user, str(programs / "pg_ctl"), "--pgdata", data, "--wait", "--timeout", "120"]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    log = str(folder / "log")
    subprocess.run([*control, "--options", options, "--log", log, "start"], check=True, capture_output=True, cwd=folder)
    try:
        yield {"PGHOST": str(folder), "PGUSER": "wcr_med", "PGDATABASE": "postgres"}
    finally:
        subprocess.run([*control, "--mode", "immediate", "stop"], check=True, capture_output=True, cwd=folder)
        shutil.rmtree(folder)


@pytest.fixture
def database(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return server


def test_two_workers_share_a_study(comparison: Build, database: dict[str, str], tmp_path: Path) -> None:
    config = comparison(storage=URL, name="shared")
    taken = work_in_two(lambda: Study(config, chosen_methods(config), tmp_path))
    assert len(taken) == len(set(taken)) == 8
    assert not (tmp_path / "study.db").exists()
    with pytest.raises(UserError, match=r"was begun with study\.sparsities"):
        other = comparison(storage=URL, name="shared", sparsities=[0.5, 0.8])
        Study(other, chosen_methods(other), tmp_path)


def test_many_workers_may_be_the_first(
    comparison: Build, database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    config = comparison(storage=URL)
    for number in range(2):
        with psycopg.connect(autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE first{number}".encode())
        monkeypatch.setenv("PGDATABASE", f"first{number}")
        together = threading.Barrier(4, timeout=60)

        def open_it(barrier: threading.Barrier) -> Study:
            barrier.wait()
            return Study(config, chosen_methods(config), tmp_path)

        with ThreadPoolExecutor(4) as pool:
            studies = list(pool.map(open_it, [together] * 4))
        assert sum(study.work(lambda _cell: 0.5) for study in studies) == 8
        assert len(optuna.get_all_study_names(URL)) == 1
        monkeypatch.setenv("PGDATABASE", database["PGDATABASE"])


def test_a_database_that_is_not_there_is_one_line(
    comparison: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("PGHOST", str(tmp_path))
    config = comparison(storage=URL)
    with pytest.raises(UserError, match=r"study\.storage postgresql\+psycopg://: .*nothing is lost"):
        Study(config, chosen_methods(config), tmp_path)


def test_a_driver_that_is_missing_is_one_line(
    comparison: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    config = comparison(storage=URL)
    with pytest.raises(UserError, match=r"driver is not installed .*wcr-med\[postgresql\]"):
        Study(config, chosen_methods(config), tmp_path)


def test_a_password_is_refused(comparison: Build) -> None:
    assert comparison(storage="postgresql+psycopg://me@host/study").study.storage
    with pytest.raises(UserError, match="PGPASSWORD") as refused:
        comparison(storage="postgresql+psycopg://me:hidden@host/study")
    assert "hidden" not in str(refused.value)


@pytest.mark.slow  # a worker counts as dead after two minutes of silence
def test_a_killed_worker_leaves_its_cell_to_another(
    comparison: Build, database: dict[str, str], tmp_path: Path
) -> None:
    training = {"epochs": 20, "batch_size": 16, "loader_workers": 0, "threads": 1}
    config = comparison(run={"training": training}, storage=URL, name="killed", tuning_trials=1)
    file, out = tmp_path / "compare.yaml", tmp_path / "out"
    file.write_text(config.to_yaml(), encoding="utf-8")
    command = [sys.executable, "-m", "wcr_med", "compare", "--config", str(file), "--out", str(out)]
    workers = [subprocess.Popen(command) for _ in range(2)]
    try:
        running = wait_for_both(workers)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait(timeout=60)
        assert workers[1].wait(timeout=500) == 0
    finally:
        for worker in workers:
            worker.kill()
    done = Counter(key(trial) for trial in trials() if trial.state == TrialState.COMPLETE)
    expected = {f"{method}-{seed}" for method in ("none", "l1") for seed in (0, 1)}
    assert {f"{cell.method}-{cell.seed}" for cell in map(cell_of, trials())} == expected
    assert len(done) == len(expected)
    assert set(done.values()) == {1}
    (lost,) = [trial for trial in trials() if trial.state == TrialState.FAIL]
    assert key(lost) in running
    assert len(list(out.glob("trials/*/result.json"))) == len(expected)
    assert (out / "compare.md").is_file()


def trials() -> list[FrozenTrial]:
    """Of the study that lost a worker; none before it is made."""
    try:
        return optuna.load_study(study_name="killed", storage=URL).get_trials(deepcopy=False)
    except KeyError:
        return []


def cell_of(trial: FrozenTrial) -> Cell:
    return Cell.from_dict(trial.user_attrs["cell"])


def key(trial: FrozenTrial) -> str:
    return cell_of(trial).key


def wait_for_both(workers: "list[subprocess.Popen[bytes]]") -> list[str]:
    """Wait until each worker is at a cell; the cells."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        running = [key(trial) for trial in trials() if trial.state == TrialState.RUNNING]
        if len(running) == 2:
            return running
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.2)
    raise AssertionError("the workers did not begin")
