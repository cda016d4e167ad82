"""Fixtures that every room shares."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wcr_med.stages.workspace import Workspace

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "lgg"


@pytest.fixture(scope="session")
def lgg_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real `kaggle_3m` folder: WCR_MED_LGG, else unpacked from ../shared/lgg; skips where neither exists."""
    if named := os.environ.get("WCR_MED_LGG"):
        return Path(named)
    unpack = _SHARED / "unpack.py"
    if not unpack.exists():
        pytest.skip("no real LGG data: set WCR_MED_LGG to a kaggle_3m folder")
    target = tmp_path_factory.mktemp("lgg")
    subprocess.run([sys.executable, str(unpack), str(target), "--parts", "1"], check=True, capture_output=True)
    return target / "kaggle_3m"


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom in kaggle_3m layout: 12 patients, 64x64. Read it, never change it."""
    from wcr_med.data.phantom import make_phantom

    root = tmp_path_factory.mktemp("phantom") / "kaggle_3m"
    make_phantom(root, n_patients=12, seed=0, size=64, slices=(8, 12))
    return root


@pytest.fixture(scope="session")
def run_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that all small runs share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(phantom_root: Path, run_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """The whole job on the small phantom, done once. Read it, never change it."""
    from tests.small import small_config
    from wcr_med.stages.run import run_stages
    from wcr_med.stages.workspace import Workspace

    workspace = Workspace(out=tmp_path_factory.mktemp("run"), config=small_config(phantom_root, run_cache))
    run_stages(workspace)
    return workspace


@pytest.fixture
def own_regularizers() -> Iterator[None]:
    """What a test registers is gone after it."""
    from wcr_med.regularizers import registry

    before = dict(registry._TABLE)
    yield
    registry._TABLE.clear()
    registry._TABLE.update(before)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test makes of logging, as every command does, is undone after it: another's bar depends on it."""
    root, ours = logging.getLogger(), logging.getLogger("wcr_med")
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
    logging.captureWarnings(False)
