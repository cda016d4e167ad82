"""No memory, no permission: one line, an exit code, nothing half-written."""

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from tests.exported import small_volume
from tests.runtime.test_infer import write_nifti, write_slices
from wcr_med import cli
from wcr_med.errors import UserError
from wcr_med.runtime import Segmenter, infer

NO_ROOM = ort_errors.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : ... Failed to allocate memory for requested buffer of size 8"
)
NO_START = ort_errors.RuntimeException("[ONNXRuntimeError] : 6 : Exception during initialization: std::bad_alloc")


def test_a_volume_without_room_fails_alone(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p1", "p2"):
        write_slices(tmp_path / "in" / name, ["s1.png"])
    whole = Segmenter._forward
    calls = []

    class Session:
        def run(self, *_: object) -> None:
            raise NO_ROOM

    def once(self: Segmenter, opened: Any, *arguments: np.ndarray) -> np.ndarray:
        calls.append(1)
        return whole(self, opened if len(calls) > 1 else Session(), *arguments)

    monkeypatch.setattr(Segmenter, "_forward", once)
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    assert [volume.name for volume in report.volumes] == ["p2"]
    assert report.failures[0].message.endswith("not enough memory; give a smaller --batch-size, or fewer --processes")
    assert {path.parent.name for path in (tmp_path / "out").rglob("*_mask*")} == {"p2"}


def test_a_sound_model_is_not_called_damaged(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise NO_START

    monkeypatch.setattr(sys.modules["wcr_med.runtime.session"], "open_apart", full)
    with pytest.raises(MemoryError, match="bad_alloc"):
        Segmenter.from_file(model_file, threads=1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        SystemError("error return without exception set"),
    ],
)
def test_the_command_says_it_in_a_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == UserError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: not enough memory;")


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main()


def powerless() -> None:
    """Take from a process, before it starts, the right of root to write everywhere."""
    drop_from_bounding_set, may_override, may_search = 24, 1, 2
    for right in (may_override, may_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, right, 0, 0, 0)


def run(arguments: list[object], before: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wcr_med", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=before)


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from a process in Linux's way")
def test_no_permission(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "in" / "good", ["s1.png"])
    write_slices(tmp_path / "in" / "closed", ["s1.png"])
    write_nifti(tmp_path / "in" / "scan.nii.gz", np.moveaxis(small_volume(n_slices=2).image_SHWC, 0, 2))
    (tmp_path / "out").mkdir()
    for path, mode in (
        (tmp_path / "out", 0o555),
        (tmp_path / "in" / "closed" / "s1.png", 0),
        (tmp_path / "in" / "scan.nii.gz", 0),
    ):
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    for out in (tmp_path / "out", tmp_path / "out" / "new"):
        done = run(["infer", model_file, tmp_path / "in", "-o", out], powerless)
        assert done.returncode == UserError.exit_code
        assert done.stderr.splitlines() == [f"error: {out}: not permitted to write here; choose another --out"]
        assert not list((tmp_path / "out").iterdir())
    done = run(["infer", model_file, tmp_path / "in", "-o", tmp_path / "other"], powerless)
    assert done.returncode == 102, done.stderr
    assert done.stderr.count("not permitted to read it; check its permissions") == 2
    assert {path.parent.name for path in (tmp_path / "other").rglob("*_mask*")} == {"good"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory in Linux's way")
def test_memory_limits(model_file: Path, tmp_path: Path) -> None:
    """From too little to start up to enough: no traceback, and no mask without exit code 0."""
    write_slices(tmp_path / "p", ["s1.png"])
    for megabytes in range(60, 460, 20):
        out = tmp_path / str(megabytes)
        limits = (megabytes << 20, megabytes << 20)
        done = run(
            ["infer", model_file, tmp_path / "p", "-o", out, "--threads", 1],
            lambda limits=limits: resource.setrlimit(resource.RLIMIT_AS, limits),
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert bool(list(out.rglob("*_mask*"))) == (done.returncode == 0)
        assert (done.stderr == "") == (done.returncode == 0)
