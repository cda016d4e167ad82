"""Made-up records of an analysis for the plots: numbers of the right kind, of no network."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tests.report.analysis.made_up import PLANNED
from wcr_med.evaluation.result import EvaluationResult, PatientRow
from wcr_med.evaluation.threshold import GRID
from wcr_med.metrics.uncertainty import compare
from wcr_med.report.analysis.document import (
    Analysis,
    AttributeAnalysis,
    Calibration,
    CalibrationBin,
    Cases,
    Comparison,
    HarmTest,
    LesionDetection,
    LesionPoint,
    NetworkAnalysis,
    PatientPair,
    RobustnessCurve,
    RobustnessStep,
    Statistics,
    Subgroup,
    ThresholdCurve,
    ThresholdPoint,
    VolumeAgreement,
    VolumePoint,
)
from wcr_med.report.analysis.verdict import verdict_of
from wcr_med.report.document import LadderRow, Score

STATISTICS = Statistics(
    confidence=0.95, resamples=200, permutations=200, seed=0, margin=0.02, worse_by=0.05, outcome_bounds={},
    min_subgroup=10, min_patients=40, procedure="p", plan=PLANNED, lesion_min_voxels=10, tolerances_px=(1.0, 2.0),
    multiplicity="Holm",
)  # fmt: skip


def score(value: float, half: float | None = None, n: int = 10) -> Score:
    if half is None or math.isnan(value):
        return Score(value=value, low=None, high=None, n_patients=n, method="none")
    return Score(value=value, low=value - half, high=value + half, n_patients=n, method="BCa", confidence=0.95)


def made_pairs(n: int, *, n_undefined: int = 0, n_half: int = 0, seed: int = 0) -> tuple[PatientPair, ...]:
    """`n` patients, of these `n_undefined` without any Dice and `n_half` with one Dice alone."""
    rng = np.random.default_rng(seed)
    pairs = []
    for place in range(n):
        dense = float(np.clip(rng.beta(9, 2), 0, 1))
        pruned = float(np.clip(dense + rng.normal(-0.01, 0.04) - (0.4 if place % 29 == 7 else 0), 0, 1))
        if place < n_undefined:
            dense = pruned = math.nan
        elif place < n_undefined + n_half:
            dense, pruned = math.nan, 0.0
        counted = [1.0 if math.isnan(value) else value for value in (dense, pruned)]
        site = ("CS", "DU", "FG", "HT")[place % 4]
        pairs.append(
            PatientPair(
                patient_id=f"TCGA_{site}_{4900 + place}_19970222", institution=site, dense=dense, pruned=pruned,
                difference=math.nan if place < n_undefined else counted[1] - counted[0],
                reference_voxels=int(rng.integers(100, 60000)), dense_voxels=5000, pruned_voxels=4800,
            )
        )  # fmt: skip
    return tuple(pairs)


def made_lesions(pairs: Sequence[PatientPair], seed: int = 1) -> tuple[LesionPoint, ...]:
    rng = np.random.default_rng(seed)
    lesions = []
    for pair in pairs:
        if math.isnan(pair.dense):
            continue
        for index in range(1, 1 + int(rng.integers(1, 4))):
            size = int(10 ** rng.uniform(1, 4.7))
            dense, pruned = (bool(rng.random() < size / (size + 60)) for _ in range(2))
            lesions.append(
                LesionPoint(
                    patient_id=pair.patient_id, index=index, n_voxels=size, volume_ml=math.nan, detected_dense=dense,
                    detected_pruned=pruned, dice_dense=float(rng.beta(6, 2)) if dense else 0.0,
                    dice_pruned=float(rng.beta(6, 2)) if pruned else 0.0,
                )
            )  # fmt: skip
    return tuple(lesions)


def made_subgroup(name: str, n: int, difference: float, verdict: str = "inconclusive") -> Subgroup:
    half = None if n < 2 else 0.12 / math.sqrt(n)
    return Subgroup(
        group=name, n_patients=n, dense=score(0.85, half), pruned=score(0.85 + difference, half),
        difference=score(difference, half), verdict=verdict if n >= 40 else "too few", tested=n >= 10,
    )  # fmt: skip


def made_attributes(n_attributes: int, n: int, seed: int = 2) -> tuple[AttributeAnalysis, ...]:
    rng = np.random.default_rng(seed)
    sites, codes = ("CS", "DU", "FG", "HT", "EZ", "unknown"), ("1", "2", "3", "4", "5", "not stated")
    attributes = []
    for place in range(n_attributes):
        n_groups = int(rng.integers(2, 7))
        groups = tuple(
            made_subgroup(
                (codes if place else sites)[group],
                max(1, n // n_groups - 3 * group),
                float(rng.normal(-0.005, 0.012)),
                ("non-inferior", "inconclusive", "inferior")[int(rng.integers(3))],
            )
            for group in range(n_groups)
        )
        harm = HarmTest(
            statistic=3.0, worst_group=groups[0].group, excess_loss=0.03, n_patients=n, n_groups=2, permutations=200,
            seed=0, p=0.002, p_holm=0.012, harmed=True,
        )  # fmt: skip
        name = f"neoplasm_histologic_grade_{place}" if place else "institution"
        attributes.append(
            AttributeAnalysis(attribute=name, label=name, groups=groups, harm=harm if place == 1 else None)
        )
    return tuple(attributes)


def made_comparison(n: int, *, n_undefined: int = 0, n_half: int = 0, n_attributes: int = 16) -> Comparison:
    pairs = made_pairs(n, n_undefined=n_undefined, n_half=n_half)
    paired = compare([p.dense for p in pairs], [p.pruned for p in pairs], worse_by=0.05, resamples=200)
    verdict = verdict_of(
        np.array([pair.difference for pair in pairs]), margin=0.02, confidence=0.95, min_patients=10, plan=PLANNED
    )
    return Comparison(
        network="pruned-90", label="90 % sparsity", paired=paired, verdict=verdict, metrics=(), pairs=pairs, cost=(),
        worst_disturbance=None, flips=(), not_compared=(), lesions=made_lesions(pairs),
        attributes=made_attributes(n_attributes, n),
    )  # fmt: skip


def made_volume(n: int, seed: int = 0) -> VolumeAgreement:
    rng = np.random.default_rng(seed)
    reference = rng.lognormal(3, 0.9, n)
    predicted = reference * rng.normal(1.02, 0.12, n)
    difference = predicted - reference
    bias = float(difference.mean()) if n else math.nan
    spread = float(difference.std(ddof=1)) if n > 1 else math.nan
    half = 2 * spread / math.sqrt(n) if n > 1 else None
    points = tuple(
        VolumePoint(patient_id=f"P{k}", reference=float(r), predicted=float(p), mean=float(r + p) / 2,
                    difference=float(p - r))
        for k, (r, p) in enumerate(zip(reference, predicted, strict=True))
    )  # fmt: skip
    return VolumeAgreement(
        unit="ml", points=points, bias=score(bias, half), lower=score(bias - 1.96 * spread, half and 1.7 * half),
        upper=score(bias + 1.96 * spread, half and 1.7 * half), standard_deviation=spread, n_within=n,
    )  # fmt: skip


def made_calibration(power: float = 1.3) -> Calibration:
    """20 bins, of which the twelfth is empty."""
    bins = tuple(
        CalibrationBin(
            low=k / 20, high=(k + 1) / 20, n_voxels=0 if k == 11 else int(2e5 / (1 + 4 * k * (19 - k))),
            mean_probability=math.nan if k == 11 else (k + 0.5) / 20,
            observed=score(math.nan) if k == 11 else score(((k + 0.5) / 20) ** power, 0.03),
        )
        for k in range(20)
    )  # fmt: skip
    return Calibration(
        bins=bins, ece=score(0.041, 0.006), brier=score(0.08, 0.01), n_voxels=500_000, over_confidence=0.03
    )


def made_threshold(n: int, *, seed: int = 0, folds: int = 1) -> ThresholdCurve:
    points = []
    for threshold in GRID:
        dice = 0.86 - 0.02 * seed - 1.5 * abs(threshold - 0.4) ** 3 if n else math.nan
        points.append(ThresholdPoint(threshold=threshold, dice_patient=dice, f1_pooled=dice))
    return ThresholdCurve(
        points=tuple(points),
        chosen={f"fold {k + 1} of {folds}": 0.35 + 0.04 * k + 0.02 * seed for k in range(folds)},
        plateau_low=0.16 if n else math.nan,
        plateau_high=0.62 if n else math.nan,
        plateau_loss=0.02,
    )


def made_network(name: str, n: int, *, seed: int = 0, folds: int = 1) -> NetworkAnalysis:
    dense = name == "dense"
    return NetworkAnalysis(
        name=name, label="dense" if dense else "90 % sparsity", sparsity_prunable=0.0 if dense else 0.9,
        sparsity_all=0.0, n_prunable=7_000_000, n_all=7_700_000, repair=(), retrained_epochs=0, scores={},
        n_undefined={},
        cases=Cases(
            n_patients=n, n_both_empty=0, n_false_alarm=0, n_missed=0, n_not_found=0, n_slices=10, n_slices_free=1,
            n_slices_false_alarm=0, false_positive_voxels=0, false_positive_ml=0.0, n_false_lesions=0,
        ),
        lesions=LesionDetection(
            min_voxels=10, n_reference=1, n_detected=1, n_predicted=1, n_false=0, sensitivity=score(1.0),
            precision=score(1.0), f1=score(1.0), dice=score(0.9), false_per_patient=score(0.0),
        ),
        volume=made_volume(n, seed), calibration=made_calibration(1.3 + seed / 3) if n else None,
        threshold=made_threshold(n, seed=seed, folds=folds),
    )  # fmt: skip


def made_ladder() -> tuple[LadderRow, ...]:
    rows = []
    for sparsity in (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
        for repair in ((), ("reestimate_statistics",)) if sparsity else ((),):
            value = 0.86 - (0.12 if repair else 0.5) * sparsity**12
            scores = {"dice_patient": score(value, 0.03), "f1_pooled": score(value + 0.04, 0.03)}
            rows.append(LadderRow(sparsity=sparsity, repair=repair, threshold=0.5, **scores))
    return tuple(rows)


def made_robustness(networks: Sequence[str] = ("dense", "pruned-90")) -> tuple[RobustnessCurve, ...]:
    units = {
        "noise": "standard deviation of added noise, in spreads of the channel",
        "bias_field": "largest relative change of a smooth field over the image",
        "intensity_shift": "relative gain",
        "blur": "standard deviation of the Gaussian, pixels",
        "missing_channel": "channel set to a constant",
    }
    curves = []
    for disturbance, unit in units.items():
        for network in networks:
            loss = 0.08 if network == "dense" else 0.12
            steps = tuple(
                RobustnessStep(
                    strength=k / 4, dice=score(0.86 - loss * k**1.5 / 2, 0.03), change=score(-loss * k, 0.02),
                    to_dense=None if network == "dense" else score(-0.01 * k, 0.01),
                )
                for k in range(5)
            )  # fmt: skip
            curves.append(RobustnessCurve(network=network, disturbance=disturbance, unit=unit, steps=steps))
    return tuple(curves)


def made_analysis(
    n: int = 74, *, n_undefined: int = 2, n_half: int = 1, n_attributes: int = 16, folds: int = 1
) -> Analysis:
    return Analysis(
        title="phantom", design="hold-out", phantom=True, n_patients=n, primary="pruned-90",
        networks=(made_network("dense", n, folds=folds), made_network("pruned-90", n, seed=1, folds=folds)),
        comparisons=(made_comparison(n, n_undefined=n_undefined, n_half=n_half, n_attributes=n_attributes),),
        partitions=(), demographics=(), robustness=made_robustness(), ladder=made_ladder(), deployment={}, leak=None,
        statistics=STATISTICS, definitions={}, notices=(),
    )  # fmt: skip


def made_result(n: int, *, seed: int = 0, n_undefined: int = 0) -> EvaluationResult:
    """Rows with the scores that a plot reads; every other field of a row is 0."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(n):
        factor = math.nan if place < n_undefined else 1.0
        values = {
            "patient_id": f"P{place}", "dice": factor * rng.beta(9, 2), "iou": factor * rng.beta(8, 3),
            "precision": factor * rng.beta(9, 2), "recall": factor * rng.beta(9, 2),
            "relative_volume_error": factor * rng.normal(0, 0.2), "hd95_px": factor * rng.gamma(2, 3),
            "nsd": {"1.0": factor * rng.beta(6, 3), "2.0": factor * rng.beta(9, 2)},
        }  # fmt: skip
        rows.append(_filled_row(values))
    return EvaluationResult(threshold=0.5, rows=tuple(rows), averages={}, seed=0)


def _filled_row(values: dict[str, object]) -> PatientRow:
    row = object.__new__(PatientRow)  # fields that no plot reads may come and go without a change here
    for field in dataclasses.fields(PatientRow):
        object.__setattr__(row, field.name, values.get(field.name, 0))
    return row
