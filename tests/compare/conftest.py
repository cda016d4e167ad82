"""A comparison small enough to train in a second: the phantom, 2 features, 32x32, one epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wcr_med.compare.config import CompareConfig
from wcr_med.data.phantom import make_phantom
from wcr_med.documents import check_document


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "kaggle_3m"
    make_phantom(root, n_patients=10, seed=0)
    return root


@pytest.fixture
def comparison(phantom: Path, tmp_path: Path) -> Callable[..., CompareConfig]:
    """Builds a configuration; keywords replace single fields of the study."""

    def build(methods: Any = ("none", "l1"), run: dict[str, Any] | None = None, **study: Any) -> CompareConfig:
        document = {
            "run": {
                "data": {"root": str(phantom), "cache": str(tmp_path / "cache")},
                "split": {"validation_patients": 2, "test_patients": 3},
                "preprocess": {"height": 32, "width": 32},
                "augment": {"enabled": False},
                "model": {"features": 2},
                "regularizer": {"name": "none"},
                "training": {"epochs": 1, "batch_size": 16, "loader_workers": 0, "threads": 1},
                "pruning": {"repair_slices": 16},
                **(run or {}),
            },
            "study": {"seeds": [0, 1], "sparsities": [0.5, 0.9], "tuning_trials": 2, "tuning_sparsity": 0.5, **study},
            "methods": methods,
        }
        return check_document(CompareConfig, document, source="the test")

    return build
