"""The base install in a fresh virtual environment: small, and enough to segment."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.runtime.test_independence import ABSENT
from tests.runtime.test_infer import write_slices

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BYTES = 250_000_000
OWN_OF_PIP = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment into which the wheel was installed, with nothing but its dependencies."""
    folder = tmp_path_factory.mktemp("base")
    environment = folder / "venv"
    venv.create(environment, with_pip=True, symlinks=sys.platform != "win32")
    interpreter = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if subprocess.run([*pip, "download", "--no-deps", "-d", folder / "probe", "typer"], check=False).returncode:
        pytest.skip("no package registry can be reached")
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder / "wheels", ROOT], check=True)
    (wheel,) = (folder / "wheels").glob("wcr_med-*.whl")
    subprocess.run([*pip, "install", wheel], check=True)
    return interpreter


def site_packages(python: Path) -> Path:
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def test_it_is_small(python: Path) -> None:
    sizes: dict[str, int] = {}
    for entry in site_packages(python).iterdir():
        if not entry.name.startswith(OWN_OF_PIP):
            files = entry.rglob("*") if entry.is_dir() else [entry]
            sizes[entry.name] = sum(file.lstat().st_size for file in files if file.is_file())
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    assert total < LARGEST_BYTES, (total, largest)


def test_it_holds_nothing_of_training(python: Path) -> None:
    absent = [name for name in ABSENT if name != "pydantic"]  # typer brings it
    program = (
        "import importlib.util, json, sys; print(json.dumps([n for n in sys.argv[1:] if importlib.util.find_spec(n)]))"
    )
    done = subprocess.run([python, "-I", "-c", program, *absent], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_it_segments(python: Path, model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "in" / "p1", ["s1.png", "s2.png"])
    command = python.with_name("wcr-med")
    for arguments in (
        ["infer", "--help"],
        ["info", model_file],
        ["bench", model_file, "--runs", "5", "--threads", "1"],
        ["infer", model_file, tmp_path / "in" / "p1", "-o", tmp_path / "out", "--overlays", "--probabilities"],
    ):
        done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "p1").glob("*_mask.png"))) == 2
    refused = subprocess.run([command, "config"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "pip install 'wcr-med[train]'" in refused.stderr
