"""A finished run, made up."""

import numpy as np
import pytest

from tests.report.analysis.made_up import PLANNED
from wcr_med.evaluation import EvaluationResult, score_patient
from wcr_med.metrics import average_terms, averages
from wcr_med.provenance import provenance
from wcr_med.report import (
    DataSummary,
    ExportSummary,
    LadderRow,
    ModelSummary,
    NetworkSummary,
    SummaryDocument,
    TrainingSummary,
)
from wcr_med.report.analysis.cost import pruning_cost
from wcr_med.report.analysis.flips import flipped_patients, outcome_bounds
from wcr_med.report.analysis.paired import dice_comparison, dice_verdict, patient_pairs
from wcr_med.report.analysis.settings import Settings

SETTINGS = Settings(resamples=50, plan=PLANNED)
_NAMES = [*"abcdefgh", *(f"p{number}" for number in range(50))]
REPAIR = ("reestimate_statistics",)


def square(top, size, *, slices=4, side=32):
    mask_SHW = np.zeros((slices, side, side), np.uint8)
    mask_SHW[1:3, top : top + size, 8 : 8 + size] = 1
    return mask_SHW


def result_of(shifts, *, threshold=0.5):
    """An evaluation of patients a, b, c ...: a square found `shift` rows too low; `None`: neither there nor found."""
    rows, counts = [], []
    for name, shift in zip(_NAMES, shifts, strict=False):
        size = 0 if shift is None else 10
        row, slice_counts = score_patient(square(4, size), square(4 + (shift or 0), size), patient_id=name)
        rows.append(row)
        counts.append(slice_counts)
    return EvaluationResult(
        threshold=threshold, rows=tuple(rows), averages=averages(average_terms(counts), resamples=50), seed=0
    )


def document_of(dense, pruned, **changes):
    ladder = [LadderRow.from_result(dense, sparsity=0.0)]
    ladder += [LadderRow.from_result(pruned, sparsity=s, repair=r) for s in (0.9, 0.985) for r in (REPAIR, ())]
    fields = {
        "title": "A made-up run",
        "command": "wcr-med run --config configs/phantom.yaml --out runs/phantom",
        "data": DataSummary(
            source="a phantom",
            n_train=5,
            n_validation=3,
            n_test=len(dense.rows),
            split_method="holdout",
            split_hash="0123456789abcdef" * 4,
            institutions={"train": {"DU": 3, "CS": 2}},
        ),
        "model": ModelSummary(name="buda_unet", features=4, n_all=1234567, n_prunable=1230000, grid=(64, 96)),
        "training": TrainingSummary(
            regularizer="wcr",
            strength=1e-5,
            optimizer="sgd",
            learning_rate=0.05,
            epochs=8,
            best_epoch=7,
            best_dice=0.812,
            seconds=600,
        ),
        "dense": NetworkSummary.from_result(dense, name="dense", sparsity_prunable=0.0, sparsity_all=0.0),
        "pruned": NetworkSummary.from_result(
            pruned, name="pruned-90", sparsity_prunable=0.9, sparsity_all=0.8973, repair=REPAIR
        ),
        "paired": dice_comparison(dense.rows, pruned.rows, SETTINGS),
        "verdict": dice_verdict(dense.rows, pruned.rows, SETTINGS, network="pruned-90"),
        "pairs": patient_pairs(dense.rows, pruned.rows),
        "cost": pruning_cost(dense.rows, pruned.rows),
        "worst_disturbance": None,
        "flips": flipped_patients(dense.rows, pruned.rows, worse_by=SETTINGS.worse_by),
        "outcome_bounds": outcome_bounds(SETTINGS.worse_by),
        "not_compared": (),
        "warnings": (),
        "ladder": tuple(ladder),
        "export": ExportSummary(
            file="pruned-90.onnx",
            n_bytes=1_000_000,
            dense_bytes=7_800_000,
            logit_difference=3.2e-5,
            logit_tolerance=1e-3,
            dice_difference=0.0,
            dice_tolerance=1e-4,
            n_slices=64,
        ),
        "provenance": provenance(seed=3),
    }
    return SummaryDocument(**{**fields, **changes})


@pytest.fixture
def make_result():
    return result_of


@pytest.fixture
def make_document():
    return document_of


@pytest.fixture
def make_square():
    return square
