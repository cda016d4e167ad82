"""What the figures of the analysis are, in words; those of single scores and averages are the evaluation's own."""

from collections.abc import Mapping

from wcr_med.evaluation.result import SCORE_DEFINITIONS
from wcr_med.evaluation.summarise import LESION_DEFINITIONS
from wcr_med.metrics.averages import DEFINITIONS

OWN_DEFINITIONS: Mapping[str, str] = {
    "absolute_volume_error": "|predicted - reference volume| / reference volume",
    "lesion_sensitivity": "detected / reference lesions, of all patients together",
    "lesion_precision": "detected / (detected + false lesions), of all patients together; 0 where lesions were missed"
    " and nothing was predicted",
    "lesion_f1": "2 detected / (2 detected + missed + false), of all patients together",
    "ece": "expected calibration error: mean over voxels in question of |mean probability - share of lesion| of their"
    " bin, all patients together",
    "brier": "mean of (probability - reference)^2 over voxels in question, all patients together",
    "volume_agreement": "predicted - reference volume of each patient; limits are bias -/+ 1.96 standard deviations",
    "difference": "pruned - dense on the same patients; where one network rightly predicts nothing and the other raises"
    " a false alarm, the right answer counts as perfect",
    "interval_of_pooled": "bootstrap over patients; both halves of a patient are drawn together",
    "interval_of_rate": "Clopper and Pearson's exact interval at the effective number of trials, patients being"
    " clusters (Korn and Graubard 1998); where all patients have the same rate, at one trial a patient or fewer"
    " (Kish 1965)",
    "p": "Wilcoxon signed-rank of the patients' differences, or for pooled figures a permutation test that exchanges"
    " dense and pruned within patients; two-sided",
    "p_holm": "Holm's adjustment: of metrics over all metrics of the table, of harm over all attributes tested",
    "harm": "mean difference of all other patients minus that of the group, in standard errors; the largest over"
    " groups, in every permutation of the patients' labels too",
    "jump": 'a figure of a patient that changed by more than its bound (statistics.outcome_bounds); a right "nothing'
    ' there" counts as Dice 1 and HD95 0',
    "tumour_found": "one predicted voxel or more lies on it",
    "plateau": "unbroken stretch of thresholds around the chosen one with dice_patient within the margin of its best",
}


def definitions() -> dict[str, str]:
    """All of them by name."""
    return {**DEFINITIONS, **LESION_DEFINITIONS, **SCORE_DEFINITIONS, **OWN_DEFINITIONS}
