"""One finished run of the whole job on a small phantom, shared by the tests of stages and command line."""

from pathlib import Path

import pytest

from wcr_med.config import Config, parse_config
from wcr_med.stages.run import run_stages
from wcr_med.stages.workspace import Workspace


def small_config(root: Path, cache: Path) -> Config:
    """A run that takes seconds: 32x32, two features, two epochs."""
    document = {
        "data": {"root": str(root), "cache": str(cache)},
        "split": {"validation_patients": 3, "test_patients": 3},
        "preprocess": {"height": 32, "width": 32},
        "model": {"features": 2},
        "training": {"epochs": 2, "batch_size": 8, "loader_workers": 0, "threads": 1, "precision": "fp32"},
        "pruning": {"ladder": [0.0, 0.9], "reestimate_slices": 32},
        "evaluation": {"resamples": 50},
        "export": {"parity_slices": 8},
    }
    return parse_config(document, source="the test")


@pytest.fixture(scope="session")
def run_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that all small runs share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(phantom_root: Path, run_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole job, done once. Read it, never change it."""
    workspace = Workspace(out=tmp_path_factory.mktemp("run"), config=small_config(phantom_root, run_cache))
    run_stages(workspace)
    return workspace
