"""What a split of slices would claim: a warning beside the honest figure, never a result.

Slices of one patient look alike. Where some of them train and others test, the network is tested on patients it has
seen, and the score says nothing about new ones. The network of this stage is scored and thrown away.

Shape suffixes: S slices, H and W rows and columns of the patient's files, T thresholds.
"""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from wcr_med.data.cache import SliceCache
from wcr_med.data.index import load_volume
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import Predictor
from wcr_med.evaluation.patients import predict, reference_of, show_progress
from wcr_med.evaluation.threshold import GRID, best_threshold, threshold_counts
from wcr_med.files import read_json, sha256_of_json, write_json
from wcr_med.metrics.averages import average_terms
from wcr_med.metrics.counts import SliceCounts, count_slices
from wcr_med.models import build_model
from wcr_med.preprocess import binarise
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer
from wcr_med.report.clinical.inputs import Leak
from wcr_med.stages.folds import fold_workspaces
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.networks import open_predictor
from wcr_med.stages.workspace import Workspace, alone
from wcr_med.training import deciding_fields, processor_settings, train

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
WARNING = (
    "A warning, not a result: slices of the same patients trained and tested this network, so its scores say nothing"
    " about new patients."
)
AVERAGES = ("dice_patient", "f1_pooled", "dice_slice_tumour")

_UNFINISHED = ".leak"  # checkpoints while it trains; gone afterwards


@dataclass(frozen=True, kw_only=True)
class LeakySplit:
    """Slices, not patients, in three parts: what must not be done. Not a `Split`, and no evaluation takes it.

    Attributes:
        train: rows of the cache, int64, rising; `validation` and `test` likewise; disjoint.
        n_patients_shared: patients of test slices that have training slices as well.
    """

    train: Array
    validation: Array
    test: Array
    n_patients_shared: int


@alone
def leak_stage(workspace: Workspace) -> str:
    """Train one dense network on a split of slices and write what it claims to leak.json; the network is not kept.

    Each part has as many slices as that of the honest split (of several folds, the first). An interrupted training
    goes on where it stopped.

    Returns:
        A line for the user, with the warning.

    Raises:
        UserError: see `wcr_med.training.train`; or no validation slice holds tumour.
    """
    part = fold_workspaces(workspace)[0]
    patients = open_patients(part)
    workspace.once(
        "leak",
        key={
            "schema": SCHEMA_VERSION,
            "config": deciding_fields(part.config),
            "threshold": part.config.evaluation.threshold,
            "seed": part.config.split.seed,
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[],
        outputs=[leak_path(workspace)],
        work=lambda: _leak(workspace, part, patients),
    )
    averages = read_json(leak_path(workspace))["averages"]
    claimed = ", ".join(f"{name} {value:.4f}" for name, value in averages.items() if value is not None)
    return f"leak: a split of slices would claim {claimed}. {WARNING}"


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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: a field is missing or wrong ({error}); run with --show-leak again") from None


def split_slices(cache: SliceCache, split: Split, *, seed: int) -> LeakySplit:
    """Deal all slices of a split's patients at random into three parts, each as large as its own."""
    rows = cache.rows((*split.train, *split.validation, *split.test))
    dealt = np.random.default_rng(seed).permutation(rows)
    n_train, n_validation = len(cache.rows(split.train)), len(cache.rows(split.validation))
    learned, validation, test = np.split(dealt, [n_train, n_train + n_validation])
    shared = set(cache.patient_ids_N[test]) & set(cache.patient_ids_N[learned])
    return LeakySplit(
        train=np.sort(learned), validation=np.sort(validation), test=np.sort(test), n_patients_shared=len(shared)
    )


class _Names(NamedTuple):
    """The parts of a `LeakySplit` as a training takes them."""

    train: Sequence[str]
    validation: Sequence[str]
    hash: str


def _leak(workspace: Workspace, part: Workspace, patients: Patients) -> None:
    log.warning("leak: training on a split of slices. %s", WARNING)
    config, cache = part.config, open_cache(part, patients)
    leaky = split_slices(cache, patients.split, seed=config.split.seed)
    model = _train(workspace.out / _UNFINISHED, part, patients, cache, leaky)
    with processor_settings(config.training.threads):
        threshold, counts = _score(open_predictor(part, model), patients, cache, leaky, config.evaluation.threshold)
    terms = average_terms(counts)
    averages = {name: terms[name].value for name in AVERAGES}
    write_json(
        leak_path(workspace),
        {
            "schema_version": SCHEMA_VERSION,
            "warning": WARNING,
            "averages": {name: value if math.isfinite(value) else None for name, value in averages.items()},
            "threshold": threshold,
            "n_slices_train": len(leaky.train),
            "n_slices_validation": len(leaky.validation),
            "n_slices_test": len(leaky.test),
            "n_patients_shared": leaky.n_patients_shared,
            "provenance": provenance(seed=config.seed),
        },
    )
    shutil.rmtree(workspace.out / _UNFINISHED, ignore_errors=True)


def _train(folder: Path, part: Workspace, patients: Patients, cache: SliceCache, leaky: LeakySplit) -> nn.Module:
    config = part.config
    names_N = np.array([f"slice {row}" for row in range(len(cache))])
    alone = replace(cache, patient_ids_N=names_N, folder=None)  # every slice passes for a patient
    learned, validation = (tuple(map(str, names_N[rows])) for rows in (leaky.train, leaky.validation))
    model = build_model(config.model, seed=config.seed)
    train(
        model,
        alone,
        _Names(learned, validation, sha256_of_json({"train": learned, "validation": validation})),
        # Loader processes would be sent a copy of all slices: this cache has no files of its own.
        config.model_copy(update={"training": config.training.model_copy(update={"loader_workers": 0})}),
        folder=folder,
        regularizer=build_regularizer(config.regularizer),
        data_hash=patients.data_hash,
        resume=True,
    )
    return model


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """One patient's test slices, counted at several thresholds: far smaller than their probabilities."""

    tp_ST: Array
    fp_ST: Array
    positives_S: Array
    n_pixels: int  # of a slice

    def at(self, column: int) -> SliceCounts:
        tp_S, fp_S = self.tp_ST[:, column], self.fp_ST[:, column]
        fn_S = self.positives_S - tp_S
        return SliceCounts(tp_S=tp_S, fp_S=fp_S, fn_S=fn_S, tn_S=self.n_pixels - tp_S - fp_S - fn_S)


def _tally(reference_SHW: Array, probability_SHW: Array, thresholds: Sequence[float]) -> _Tally:
    counts = [count_slices(reference_SHW, binarise(probability_SHW, threshold)) for threshold in thresholds]
    return _Tally(
        tp_ST=np.stack([count.tp_S for count in counts], axis=1),
        fp_ST=np.stack([count.fp_S for count in counts], axis=1),
        positives_S=counts[0].tp_S + counts[0].fn_S,
        n_pixels=reference_SHW[0].size if len(reference_SHW) else 0,
    )


def _score(
    predictor: Predictor, patients: Patients, cache: SliceCache, leaky: LeakySplit, threshold: float | Literal["auto"]
) -> tuple[float, list[SliceCounts]]:
    """The threshold, of validation slices unless it is given, and the counts of test slices, patient by patient.

    As in an evaluation, whole volumes are predicted, and scored on the grid of the patient's own files.
    """
    split = patients.split
    thresholds = GRID if threshold == "auto" else (threshold,)
    validated, tested = [], []
    entries = patients.of((*split.train, *split.validation, *split.test))
    for entry in show_progress(entries, "leak, no result", True):
        volume = load_volume(entry)
        reference_SHW, probability_SHW = reference_of(volume), predict(predictor, volume, network="the leaky one")
        rows = cache.rows([entry.patient_id])  # in the order of the volume's slices
        chooses, tests = np.isin(rows, leaky.validation), np.isin(rows, leaky.test)
        validated.append(threshold_counts(reference_SHW[chooses], probability_SHW[chooses]))
        tested.append(_tally(reference_SHW[tests], probability_SHW[tests], thresholds))
    if threshold != "auto":
        return threshold, [tally.at(0) for tally in tested]
    tp_PT, fp_PT, positives_P = (np.array(counts) for counts in zip(*validated, strict=True))
    if not positives_P.any():
        raise UserError("leak: no validation slice holds tumour, so no threshold can be chosen; change split.seed")
    chosen = best_threshold(tp_PT, fp_PT, positives_P).threshold
    return chosen, [tally.at(GRID.index(chosen)) for tally in tested]
