"""The engine without ONNX Runtime: the drivers of this folder, built with the compiler at hand."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from wcr_med import native

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = _ROOT / "wcr_med" / "native"
_ARM = "aarch64-linux-gnu"


def _build(name: str, *options: str) -> Path:
    """The folder of the drivers; kept between calls, so that only what changed is compiled again."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    folder = _ROOT / "build" / name
    commands = (
        ["cmake", "-S", str(_SOURCES), "-B", str(folder), "-DWCR_TESTS=ON", *options],
        ["cmake", "--build", str(folder), "--parallel", "2", "--target", "compare", "fuzz"],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


def _run(*command: str | Path) -> str:
    strict = {"UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "allocator_may_return_null=1"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=os.environ | strict
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built, for want of a compiler")
def test_random_programs_agree_with_the_reference_and_damaged_ones_do_no_harm() -> None:
    folder = _build("native-tests", "-DCMAKE_BUILD_TYPE=Release")
    report = _run(folder / "compare", "0", "60")
    assert ("neon:" if platform.machine() in ("aarch64", "arm64") else "sse:") in report
    assert "0 failed" in report
    _run(folder / "fuzz", "0", "2")


@pytest.mark.slow
def test_sanitizers_find_nothing() -> None:
    folder = _build("native-sanitized", "-DWCR_SANITIZE=address,undefined")
    _run(folder / "compare", "1000", "150")
    _run(folder / "fuzz", "1000", "60")


@pytest.mark.slow
def test_neon_under_emulation() -> None:
    compiler, emulator = shutil.which(f"{_ARM}-g++"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip(f"no {_ARM}-g++ or no qemu-aarch64 (Debian packages g++-{_ARM} and qemu-user)")
    folder = _build(
        "native-neon",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
    )
    report = _run(emulator, "-L", f"/usr/{_ARM}", folder / "compare", "0", "60")
    assert report.startswith("neon: 60 programs, 0 failed")
