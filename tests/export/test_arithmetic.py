"""No session of the package changes the arithmetic of the thread that opens it."""

import subprocess
import sys
from pathlib import Path

import pytest

import wcr_med
from tests.exported import export_small, tiny_network

_CHECK = """
import sys
from pathlib import Path

import numpy as np
import torch

def check(when):
    for what, value in {
        "numpy": np.float32(1e-40) * np.float32(1),
        "array": (np.full(64, 1e-40, np.float32) * np.float32(1)).min(),
        "torch": (torch.full((64,), 1e-40) * 1).min().item(),
        "Python": 1e-310 * 1.0,
    }.items():
        assert value != 0, f"{when}: {what} takes denormal numbers for zero"

check("before")
path = Path(sys.argv[1])
feed = {
    "image": np.zeros((1, 3, 32, 32), np.float32),
    "centre": np.zeros(3, np.float32),
    "spread": np.ones(3, np.float32),
}
"""
DOORS = {
    "export": "from wcr_med.export import open_session; opened = open_session(path, threads=1)",
    "runtime": "from wcr_med.runtime import session; opened = session(path, threads=1)",
    "Segmenter": "from wcr_med.runtime import Segmenter; opened = Segmenter.from_file(path)._session",
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("arithmetic") / "tiny.onnx", tiny_network()).path


@pytest.mark.parametrize("door", DOORS)
def test_denormal_numbers_stay(model_file: Path, door: str) -> None:
    # The first session of a process decides, so each is tried in one of its own.
    code = f"{_CHECK}{DOORS[door]}\ncheck('opened')\nopened.run(None, feed)\ncheck('run')\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_file)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_one_place_opens_sessions() -> None:
    package = Path(wcr_med.__file__).parent
    texts = {str(path.relative_to(package)): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    made = ("InferenceSession(", "onnxruntime.InferenceSession,\n")
    assert [name for name, text in texts.items() if any(words in text for words in made)] == ["native/sessions.py"]
