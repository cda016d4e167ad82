"""One command at a time in a folder, and what a killed one leaves."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wcr_med import locks
from wcr_med.errors import UserError
from wcr_med.files import atomic_folder, atomic_path
from wcr_med.locks import holding, remove_unfinished

_HOLD = """
import sys, time
from pathlib import Path
from wcr_med.locks import holding
with holding(Path(sys.argv[2]), shared=sys.argv[3] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Another process that holds a folder; it is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def run(folder: Path, how: str = "alone") -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _HOLD, "run", str(folder), how]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_told_who_works_there(tmp_path: Path, start: Start) -> None:
    process = start(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path}: `.*run` \(process {process.pid} on .*, since .*works in it"):
        holding(tmp_path).__enter__()
    with pytest.raises(UserError, match="works in it"):
        holding(tmp_path, shared=True).__enter__()


def test_the_lock_of_a_killed_process_does_not_block(tmp_path: Path, start: Start) -> None:
    process = start(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with holding(tmp_path):
        pass


def test_readers_share_a_folder_and_keep_a_writer_out(tmp_path: Path, start: Start) -> None:
    with holding(tmp_path):
        pass
    start(tmp_path, "shared")
    with holding(tmp_path, shared=True):
        pass
    with pytest.raises(UserError, match="another command works in it"):
        holding(tmp_path).__enter__()


def test_a_folder_is_held_again_in_the_same_thread_and_no_other(tmp_path: Path) -> None:
    refused: list[str] = []

    def other_thread() -> None:
        try:
            holding(tmp_path).__enter__()
        except UserError as error:
            refused.append(str(error))

    with holding(tmp_path) as first, holding(tmp_path) as second:
        assert (first, second) == (True, False)
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
    assert refused
    assert "another thread" in refused[0]
    with holding(tmp_path) as first:
        assert first


def test_a_holder_on_another_machine_is_waited_for_with_a_line(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = start(tmp_path)
    monkeypatch.setattr(locks.socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(locks, "_POLL_S", 0.01)
    waits = iter([lambda: None, process.kill, process.wait])
    monkeypatch.setattr(locks.time, "sleep", lambda _: next(waits, lambda: None)())
    with caplog.at_level(logging.INFO), holding(tmp_path):
        pass
    assert f"process {process.pid}" in caplog.text
    assert "waiting at most 120 s" in caplog.text


def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import errno
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with holding(tmp_path) as first:
        assert first
    assert "the file system has no locks (No locks available); give no second command there" in caplog.text


def test_a_shared_hold_asks_for_no_right_to_write(tmp_path: Path) -> None:
    with holding(tmp_path / "absent", shared=True):
        pass
    assert not (tmp_path / "absent").exists()


def test_unfinished_files_of_a_killed_writer_are_removed_and_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, cache = tmp_path / "run", tmp_path / "run" / "cache"
    growing = cache / ".partial-0123456789abcdef"  # prepared slices from which the next process goes on
    other = run / "other"
    for folder in (run / "export", growing, other):
        folder.mkdir(parents=True)
    (other / ".lock").touch()
    littered = [run / "export", growing, other]
    kept = []
    for folder in littered:
        file = atomic_path(folder / "dense.onnx")
        file.__enter__()
        kept.append(file)
    report = atomic_folder(run / "report")
    (report.__enter__() / "page.html").write_text("half")
    kept.append(report)  # neither ends, as when the process is killed
    (run / "export" / "result.txt").write_text("whole")

    with caplog.at_level(logging.INFO):
        remove_unfinished(run, leave=[cache])
    assert sorted(path.name for path in run.iterdir()) == ["cache", "export", "other"]
    assert [path.name for path in (run / "export").iterdir()] == ["result.txt"]
    assert len(list(growing.iterdir())) == 1
    assert len(list(other.iterdir())) == 2
    assert f"{run / 'export'}: 1 unfinished files" in caplog.text


def test_a_folder_that_was_made_for_its_lock_alone_goes_with_it(tmp_path: Path) -> None:
    new, used = tmp_path / "new", tmp_path / "used"
    with holding(new):
        assert (new / ".lock").exists()
    assert not new.exists()
    with holding(used):
        (used / "result").touch()
    assert sorted(path.name for path in used.iterdir()) == [".lock", "result"]


def test_a_failure_leaves_no_name_in_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), holding(tmp_path):
        assert "process" in (tmp_path / ".lock").read_text()
        raise ZeroDivisionError
    assert (tmp_path / ".lock").read_text() == ""
