"""What a split of slices would claim: a warning beside the honest figure, never a result.

Slices of one patient look alike. Where some of them train and others test, the network is tested on patients it has
seen, and the score says nothing about new ones. The network of this stage is scored and thrown away.

Shape suffixes: N slices of the cache, h and w rows and columns of the network's grid.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation.threshold import GRID, threshold_counts
from wcr_med.files import read_json, write_json
from wcr_med.models import build_model
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer
from wcr_med.report.clinical.inputs import Leak
from wcr_med.stages.folds import fold_workspaces
from wcr_med.stages.inputs import open_cache, open_patients
from wcr_med.stages.workspace import Workspace
from wcr_med.training import Processor, choose_processor, deciding_fields, processor_settings, train

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
WARNING = (
    "A warning, not a result: slices of the same patients trained and tested this network, so its scores say nothing"
    " about new patients."
)


@dataclass(frozen=True, kw_only=True)
class LeakySplit:
    """Slices, not patients, in three parts: what must not be done. Not a `Split`, and no evaluation takes it.

    Attributes:
        train: rows of the cache, int64; `validation` and `test` likewise; disjoint.
        n_patients_shared: patients of test slices that have training slices as well.
    """

    train: Array
    validation: Array
    test: Array
    n_patients_shared: int


def leak_stage(workspace: Workspace) -> str:
    """Train one dense network on a split of slices and write what it claims to leak.json; the network is not kept.

    Shares of slices are those of patients in the honest split (of several folds, the first).

    Returns:
        A line for the user, with the warning.
    """
    part = fold_workspaces(workspace)[0]
    patients = open_patients(part)
    config = part.config
    workspace.once(
        "leak",
        key={"config": deciding_fields(config), "split": patients.split.hash, "data": patients.data_hash},
        inputs=[],
        outputs=[leak_path(workspace)],
        work=lambda: _leak(workspace, open_cache(part, patients), patients.split, config, patients.data_hash),
    )
    averages = read_json(leak_path(workspace))["averages"]
    return f"leak: f1_pooled {averages['f1_pooled']:.4f}. {WARNING}"


def leak_path(workspace: Workspace) -> Path:
    """Where the warning lies."""
    return workspace.out / "leak.json"


def load_leak(path: Path, *, honest: Mapping[str, float]) -> Leak:
    """Read what `leak_stage` wrote.

    Args:
        path: leak.json.
        honest: averages of the dense network of the run, by name; those that both have are set side by side.

    Raises:
        UserError: the file is missing, damaged or of another schema.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path}: not of schema version {SCHEMA_VERSION}; run with --show-leak again")
    try:
        averages = {
            name: float(value) for name, value in document["averages"].items() if name in honest and value is not None
        }
        return Leak(
            averages=averages,
            honest={name: honest[name] for name in averages},
            n_slices_test=document["n_slices_test"],
            n_patients_shared=document["n_patients_shared"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: a field is missing or wrong ({error}); run with --show-leak again") from None


def split_slices(cache: SliceCache, split: Split, *, seed: int) -> LeakySplit:
    """Deal all slices of a split's patients into three parts, in proportion to its patients."""
    rows = cache.rows((*split.train, *split.validation, *split.test))
    dealt = np.random.default_rng(seed).permutation(rows)
    n_patients = len(split.train) + len(split.validation) + len(split.test)
    n_test = max(1, round(len(dealt) * len(split.test) / n_patients))
    n_validation = max(1, round(len(dealt) * len(split.validation) / n_patients))
    test, validation, learned = np.split(dealt, [n_test, n_test + n_validation])
    shared = set(cache.patient_ids_N[test]) & set(cache.patient_ids_N[learned])
    return LeakySplit(
        train=np.sort(learned), validation=np.sort(validation), test=np.sort(test), n_patients_shared=len(shared)
    )


def _leak(workspace: Workspace, cache: SliceCache, split: Split, config: Config, data_hash: str) -> None:
    log.warning("leak: training on a split of slices. %s", WARNING)
    leaky = split_slices(cache, split, seed=config.split.seed)
    names_N = np.array([f"slice {row}" for row in range(len(cache))])
    alone = replace(cache, patient_ids_N=names_N, folder=None)  # every slice passes for a patient
    parts = {part: tuple(names_N[getattr(leaky, part)]) for part in ("train", "validation", "test")}
    model = build_model(config.model, seed=config.seed)
    with processor_settings(config.training.threads):
        train(
            model,
            alone,
            Split(**parts, seed=config.split.seed, method="slices, which leaks"),
            # Workers would be sent a copy of all slices: this cache has no files of its own.
            config.model_copy(update={"training": config.training.model_copy(update={"loader_workers": 0})}),
            folder=workspace.out / ".leak",
            regularizer=build_regularizer(config.regularizer),
            data_hash=data_hash,
            resume=True,
        )
        processor = choose_processor(config.training)
        chosen = _best_threshold(_counts(model, cache, leaky.validation, processor))
        averages = _averages(_counts(model, cache, leaky.test, processor)[:, :, chosen])
    write_json(
        workspace.out / "leak.json",
        {
            "schema_version": SCHEMA_VERSION,
            "warning": WARNING,
            "averages": averages,
            "threshold": GRID[chosen],
            "n_slices_test": len(leaky.test),
            "n_patients_shared": leaky.n_patients_shared,
            "provenance": provenance(seed=config.seed),
        },
    )
    shutil.rmtree(workspace.out / ".leak", ignore_errors=True)


def _counts(model: nn.Module, cache: SliceCache, rows: Array, processor: Processor, batch: int = 32) -> Array:
    """int64 (slices, 3, thresholds): true positives, false positives, reference pixels at every threshold of GRID."""
    model.eval()
    placed = processor.place_model(model)
    counted = []
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        images_NChw = torch.from_numpy(np.asarray(cache.images_NChw[some], np.float32))
        with torch.inference_mode(), processor.autocast():
            probability_Nhw = torch.sigmoid(placed(processor.place(images_NChw))[:, 0].float()).cpu().numpy()
        for mask_hw, probability_hw in zip(np.asarray(cache.masks_Nhw[some]), probability_Nhw, strict=True):
            tp_T, fp_T, positives = threshold_counts(mask_hw, probability_hw)
            counted.append(np.stack([tp_T, fp_T, np.full_like(tp_T, positives)]))
    return np.stack(counted)


def _best_threshold(counts_N3T: Array) -> int:
    tp_T, fp_T, positives_T = counts_N3T.sum(axis=0)
    return int(np.argmax(2 * tp_T / np.maximum(1, tp_T + fp_T + positives_T)))


def _averages(counts_N3: Array) -> dict[str, float | None]:
    """`f1_pooled` and `dice_slice_tumour`, as wcr_med.metrics defines them, on the network's grid."""
    tp_N, fp_N, positives_N = counts_N3.T
    sizes_N = tp_N + fp_N + positives_N
    tumour_N = positives_N > 0
    found = {
        "f1_pooled": 2 * tp_N.sum() / sizes_N.sum() if sizes_N.any() else math.nan,
        "dice_slice_tumour": (2 * tp_N[tumour_N] / sizes_N[tumour_N]).mean() if tumour_N.any() else math.nan,
    }
    return {name: float(value) if math.isfinite(value) else None for name, value in found.items()}
