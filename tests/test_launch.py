"""torchrun with exit codes: what processes end with is what a batch system sees."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wcr_med.errors import Stopped, UserError
from wcr_med.launch import exit_code


@pytest.mark.parametrize(
    ("codes", "code"),
    [([2], 2), ([1, 2], 2), ([75, 2], 2), ([75, 75], 75), ([75, 1], 1), ([1], 1), ([-9, 75], 1), ([-9], 1)],
)
def test_one_code_for_several_processes(codes: list[int], code: int) -> None:
    assert (UserError.exit_code, Stopped.exit_code) == (2, 75)
    assert exit_code(codes) == code


def launched(script: Path, *options: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "wcr_med.launch", "--standalone", "--nproc-per-node", "2", *options, str(script)]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_process_that_fails_gives_its_code_and_one_that_is_started_again_may_succeed(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text("import os, sys\nsys.exit(2 if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else 0)\n")
    assert launched(script).wait(timeout=240) == UserError.exit_code
    assert launched(script, "--max-restarts", "1").wait(timeout=240) == 0


def test_a_signal_reaches_the_processes_and_gives_the_code_of_stopping(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import os, pathlib, signal, sys, time\n"
        f"here, rank = pathlib.Path({str(tmp_path)!r}), os.environ['RANK']\n"
        "def stop(number, frame):\n"
        "    (here / f'saved{rank}').touch()\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(here / f'started{rank}').touch()\n"
        "time.sleep(300)\n"
    )
    process = launched(script)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("started*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=240) == Stopped.exit_code
    assert len(list(tmp_path.glob("saved*"))) == 2


def test_machines_that_never_come_give_the_code_of_stopping(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text("raise SystemExit(0)\n")
    words = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    words += ["--rdzv-conf", "is_host=1,join_timeout=1", str(script)]
    done = subprocess.run([sys.executable, "-m", "wcr_med.launch", *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == Stopped.exit_code
    assert "the other machines cannot be reached" in done.stderr
