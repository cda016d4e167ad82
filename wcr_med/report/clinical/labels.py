"""What figures, groups and changes are called in the report's text and tables."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wcr_med.pruning import RETRAINED, repair_in_words
from wcr_med.report.analysis.document import Analysis, Characteristic, PairedMetric, Subgroup
from wcr_med.report.analysis.verdict import JUDGED
from wcr_med.report.clinical.formats import NOT_DEFINED, counted, listed, number
from wcr_med.report.clinical.inputs import Network


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """A line of the table of scores.

    Attributes:
        name: of the score in metrics.json.
        label: in words.
        digits: decimals.
        unit: "" or that of the value.
        signed: a plus is written.
    """

    name: str
    label: str
    digits: int = 3
    unit: str = ""
    signed: bool = False


_SCORES = (
    ScoreRow(name="dice_patient", label="Dice per patient, mean (the headline)"),
    ScoreRow(name="dice_patient_median", label="Dice per patient, median"),
    ScoreRow(name="f1_pooled", label="Dice of all voxels of all patients together (F1)"),
    ScoreRow(name="dice_slice_tumour", label="Dice of slices that hold tumour, mean"),
    ScoreRow(name="false_positive_rate_free_slices", label="Share of slices without tumour with a false alarm"),
    ScoreRow(name="mean_iou", label="Intersection over union, mean"),
    ScoreRow(name="mean_precision", label="Precision (share of predicted voxels that are lesion), mean"),
    ScoreRow(name="mean_recall", label="Recall (share of lesion voxels that are found), mean"),
    ScoreRow(name="mean_specificity", label="Specificity, mean", digits=4),
    ScoreRow(name="mean_relative_volume_error", label="Relative volume error, mean", signed=True),
    ScoreRow(name="mean_hd95_px", label="Distance of outlines, 95th percentile (HD95), mean", digits=1, unit="px"),
    ScoreRow(name="mean_hd95_mm", label="The same in millimetres", digits=1, unit="mm"),
    ScoreRow(name="mean_assd_px", label="Mean distance of outlines (ASSD), mean", digits=2, unit="px"),
    ScoreRow(name="mean_assd_mm", label="The same in millimetres", digits=2, unit="mm"),
)
_DETECTION = (
    ScoreRow(name="mean_detection_recall", label="Share of a patient's lesions found, mean over patients"),
    ScoreRow(name="mean_detection_precision", label="Detection precision of a patient, mean over patients"),
    ScoreRow(name="mean_detection_f1", label="Detection F1 of a patient, mean over patients"),
)
_ELSEWHERE = {"dice_lesion", "detection_f1_pooled", "false_lesions_per_patient", "brier_in_question"}
"""Shown with lesions and with calibration, from the same counts."""

_SURFACE_DICE = re.compile(r"mean_nsd_(.+)px")
_DISTURBANCES = {
    "noise": "Noise",
    "bias_field": "Uneven brightness (bias field)",
    "intensity_shift": "Shift of intensity",
    "blur": "Blur",
    "missing_channel": "A missing sequence",
}


def score_rows(names: Iterable[str]) -> tuple[ScoreRow, ...]:
    """A line for each score but those of lesions: known ones first, then surface Dice, then any other by its name."""
    left = dict.fromkeys(name for name in names if name not in _ELSEWHERE and not name.startswith("mean_detection_"))
    rows = [row for row in _SCORES if row.name in left]
    for name in left:
        if match := _SURFACE_DICE.fullmatch(name):
            label = f"Surface Dice (share of outlines within {match[1]} px of each other), mean"
            rows.append(ScoreRow(name=name, label=label))
    known = {row.name for row in rows}
    return (*rows, *(ScoreRow(name=name, label=name) for name in left if name not in known))


def detection_rows(names: Iterable[str]) -> tuple[ScoreRow, ...]:
    """A line for each mean over patients of lesions found."""
    found = set(names)
    return tuple(row for row in _DETECTION if row.name in found)


def score_label(name: str) -> str:
    """A score's name in words; the name itself where there are none."""
    return next((row.label for row in score_rows([name])), name)


def after_pruning(network: Network) -> str:
    """What followed pruning: "one-shot, no repair"."""
    if network.sparsity_prunable == 0:
        return "not pruned"
    repair = repair_words(network.repair)
    if network.retrained_epochs:
        return f"{repair}; {RETRAINED}: {counted(network.retrained_epochs, 'epoch')} with the mask held"
    return f"{repair}; one-shot"


def repair_words(repair: tuple[str, ...]) -> str:
    """Steps of repair in words."""
    return repair_in_words(repair)


def characteristic(entry: Characteristic) -> str:
    """One attribute of a group of patients: counts by code, or median, quartiles and range of a number."""
    if entry.counts:
        return ", ".join(f"{code}: {count}" for code, count in entry.counts.items())
    if entry.median != entry.median:
        return NOT_DEFINED
    median, q1, q3, low, high = (
        number(value, 0 if value == round(value) else 1)
        for value in (entry.median, entry.q1, entry.q3, entry.low, entry.high)
    )
    return f"median {median}, quartiles {q1} to {q3}, range {low} to {high}"


def group_verdict(group: Subgroup) -> str:
    """The verdict on a group, or why there is none."""
    return group.verdict if group.verdict in JUDGED else f"no verdict: {_NO_VERDICT.get(group.verdict, group.verdict)}"


_NO_VERDICT = {"too few": "too few patients"}


def tests_used(metrics: Iterable[PairedMetric]) -> str:
    """Which test stands behind which metrics."""
    by_test: dict[str, list[str]] = {}
    for metric in metrics:
        by_test.setdefault(metric.test, []).append(metric.label)
    return "; ".join(f"{test} for {listed(labels)}" for test, labels in by_test.items())


def thresholds(chosen: Mapping[str, float]) -> str:
    """The thresholds in use: one, or the range over the folds."""
    values = sorted(set(chosen.values()))
    if not values:
        return NOT_DEFINED
    if len(values) == 1:
        return number(values[0], 2)
    return f"{number(values[0], 2)} to {number(values[-1], 2)}, by partition"


def disturbance_words(name: str) -> str:
    """A disturbance's name in words."""
    return _DISTURBANCES.get(name, name.replace("_", " ").capitalize())


def network_label(analysis: Analysis, name: str) -> str:
    """A network's label by its name; the name itself where the analysis has no such network."""
    return next((network.label for network in analysis.networks if network.name == name), name)
