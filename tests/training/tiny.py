"""The smallest training there is.

As a program it trains in a folder, joins others that torchrun started, and may send itself a signal in the middle of a
step: `python tiny.py FOLDER SECTIONS_JSON [STEP SIGNAL]`.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wcr_med.config import Config, parse_config
from wcr_med.data.cache import SliceCache
from wcr_med.data.split import Split
from wcr_med.models import build_model
from wcr_med.regularizers import WCR, Regularizer, build_regularizer
from wcr_med.training import Group, TrainResult, join_group, train

SPLIT = Split(train=("a", "b", "c"), validation=("d", "e"), test=("f",), seed=0)
_SLICES = 6  # of each patient; the outer two hold no tumour


def tiny_cache(size: int = 32) -> SliceCache:
    """Six patients with a bright square each, in memory."""
    rng = np.random.default_rng(0)
    names = np.repeat([*SPLIT.train, *SPLIT.validation, *SPLIT.test], _SLICES)
    masks_Nhw = np.zeros((len(names), size, size), dtype=np.uint8)
    for row, mask_hw in enumerate(masks_Nhw):
        if row % _SLICES not in (0, _SLICES - 1):
            top, left = rng.integers(2, size // 2, 2)
            mask_hw[top : top + size // 3, left : left + size // 3] = 1
    images_NChw = rng.normal(size=(len(names), 3, size, size)) + 3 * masks_Nhw[:, None]
    return SliceCache(
        images_NChw=images_NChw.astype(np.float16),
        masks_Nhw=masks_Nhw,
        patient_ids_N=names,
        slice_numbers_N=np.tile(np.arange(1, _SLICES + 1), len(names) // _SLICES),
        has_tumour_N=masks_Nhw.any(axis=(1, 2)),
        key="tiny",
    )


def tiny_config(**sections: Mapping[str, Any]) -> Config:
    """Four epochs of five steps on one thread; sections given replace single fields."""
    document: dict[str, Any] = {
        "data": {"root": "nowhere"},
        "split": {"validation_patients": 2, "test_patients": 1},
        "preprocess": {"height": 32, "width": 32},
        # Flips and affine maps load albumentations, which takes seconds; elastic, intensity and noise are enough here.
        "augment": {"flip": False, "rotate_degrees": 0.0, "scale": 0.0, "shift": 0.0, "elastic": 0.5},
        "model": {"features": 2},
        "regularizer": {"name": "wcr", "strength": 1e-5},
        "training": {"epochs": 4, "batch_size": 4, "other_per_tumour": 0.5, "loader_workers": 0, "threads": 1},
    }
    for name, fields in sections.items():
        document[name] = document.get(name, {}) | dict(fields)
    return parse_config(document, source="the test")


def run_tiny(
    folder: Path,
    config: Config,
    *,
    regularizer: Regularizer | None = None,
    resume: bool = False,
    group: Group | None = None,
) -> TrainResult:
    """Train from the seed's first weights, or from the folder's state."""
    return train(
        build_model(config.model, seed=config.seed),
        tiny_cache(config.preprocess.height),
        SPLIT,
        config,
        folder=folder,
        regularizer=regularizer or build_regularizer(config.regularizer),
        resume=resume,
        group=group,
    )


def run_program(
    folder: Path, sections: Mapping[str, Any], *act: str, processes: int = 1, restarts: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Run this file as a program, under torchrun where several processes are wanted."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        launcher += [f"--max-restarts={restarts}", "--monitor-interval=0.2"]
    return subprocess.run(
        [*launcher, __file__, str(folder), json.dumps(sections), *act],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


class ActAtStep(WCR):
    """The regularizer that does something else at one step: after the backward pass, before the update."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._left = step
        self._act = act

    def add_gradient_(self, parameters: Mapping[str, Tensor], strength: float) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()
        super().add_gradient_(parameters, strength)


def _main(folder: str, sections: str, step: str = "0", number: str = "0") -> None:
    config = tiny_config(**json.loads(sections))
    first_life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    with join_group("cpu") as group:
        # As the kernel would: nothing is flushed, nothing is cleaned up.
        acting = ActAtStep(
            int(step) if first_life and group.rank == group.world - 1 else 0, lambda: os.kill(os.getpid(), int(number))
        )
        run_tiny(Path(folder), config, regularizer=acting, resume=True, group=group)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    _main(*sys.argv[1:])
