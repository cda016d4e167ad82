"""The Slurm script with stand-ins for srun and scontrol: what it starts, forwards, and asks for at the end."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.manifests import SLURM

SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$HERE/step"
trap 'echo TERM >> "$HERE/signals"; exit {code}' TERM
touch "$HERE/started"
[ {wait} = no ] || while :; do sleep 0.05; done
exit {code}
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo node1; echo node2; else echo "$@" >> "$HERE/asked"; fi
"""


def start(folder: Path, *, code: int, wait: bool, restarts: int = 0) -> "subprocess.Popen[bytes]":
    for name, text in (("srun", SRUN.format(code=code, wait="yes" if wait else "no")), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    variables = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "HERE": str(folder),
        "VENV": str(folder / "venv"),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_RESTART_COUNT": str(restarts),
    }
    return subprocess.Popen(["bash", str(SLURM)], env=variables)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_step_that_ends_by_itself_gives_the_jobs_code(code: int, tmp_path: Path) -> None:
    assert start(tmp_path, code=code, wait=False).wait(timeout=60) == code
    assert not (tmp_path / "asked").exists()
    words = (tmp_path / "step").read_text().splitlines()
    assert words[words.index("--nnodes") + 1] == "2"
    assert words[words.index("--nproc-per-node") + 1] == "4"
    assert words[words.index("--rdzv-endpoint") + 1] == "node1:24711"


def test_a_step_that_stopped_is_queued_again_but_not_for_ever(tmp_path: Path) -> None:
    assert start(tmp_path, code=75, wait=False).wait(timeout=60) == 75
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    (tmp_path / "asked").unlink()
    assert start(tmp_path, code=75, wait=False, restarts=50).wait(timeout=60) == 75
    assert not (tmp_path / "asked").exists()


def test_the_signal_before_the_end_of_time_reaches_the_step_once(tmp_path: Path) -> None:
    job = start(tmp_path, code=75, wait=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 75
    assert (tmp_path / "signals").read_text() == "TERM\n"
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
