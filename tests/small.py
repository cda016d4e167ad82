"""The smallest run that still goes through every stage."""

from pathlib import Path

from wcr_med.config import Config, parse_config


def small_config(root: Path, cache: Path) -> Config:
    """A run that takes seconds: 32x32, two features, two epochs."""
    document = {
        "data": {"root": str(root), "cache": str(cache)},
        "split": {"validation_patients": 3, "test_patients": 3},
        "preprocess": {"height": 32, "width": 32},
        "model": {"features": 2},
        "training": {"epochs": 2, "batch_size": 8, "loader_workers": 0, "threads": 1, "precision": "fp32"},
        "pruning": {"ladder": [0.0, 0.9], "repair_slices": 32},
        "evaluation": {"resamples": 50},
        "export": {"parity_slices": 8},
    }
    return parse_config(document, source="the test")
