"""Run B against run A, on the patients that both were tested on."""

from collections.abc import Sequence
from dataclasses import replace

from wcr_med.errors import UserError
from wcr_med.evaluation.rows import PatientRow
from wcr_med.evaluation.summarise import summarise
from wcr_med.report.analysis.comparison_records import PairedMetric
from wcr_med.report.analysis.estimates import holm
from wcr_med.report.analysis.flips import Compared, compared_in, flipped_patients, not_compared_in, outcome_bounds
from wcr_med.report.analysis.paired import dice_comparison, dice_verdict, paired_metrics, patient_pairs
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.clinical.outcomes import jump_words
from wcr_med.report.document import Score
from wcr_med.report.side_by_side.differences import (
    Definitions,
    differing_fields,
    find_definitions,
    notices_of,
    require_same_reference,
    shared_plan,
)
from wcr_med.report.side_by_side.document import PatientLine, RunEvaluation, RunFacts, SideBySide

Rows = Sequence[PatientRow]


def compare_runs(run_a: RunEvaluation, run_b: RunEvaluation) -> SideBySide:
    """Compare two runs; differences are B minus A, so negative is worse for a score that should be high.

    Level, resamples, seed and margin are those of run A. A verdict needs plans of the same rules in both. Metrics that
    the runs define differently are left out and named; every other difference of the configurations is listed.

    Raises:
        UserError: the runs have no test patient in common, or a common patient's images or reference masks differ.
    """
    rows_a = {row.patient_id: row for row in run_a.result.rows}
    rows_b = {row.patient_id: row for row in run_b.result.rows}
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        raise UserError(
            f"{run_a.name} and {run_b.name}: no patient was tested in both ({len(rows_a)} and {len(rows_b)} patients);"
            " compare runs of one data set, with the same split.seed and the same number of test patients"
        )
    a, b = [rows_a[patient_id] for patient_id in common], [rows_b[patient_id] for patient_id in common]
    require_same_reference(run_a, run_b, a, b)
    definitions = find_definitions(run_a, run_b, a, b)
    measured = compared_in(a, b).distances and "hd95_px" not in definitions.omitted
    compared = Compared(lesions=definitions.lesions_alike, distances=measured)
    settings = Settings.of(run_a.evaluation, run_a.settings, run_a.result, shared_plan(run_a, run_b))
    return SideBySide(
        a=_facts(run_a, a, rows_b, definitions, run_a),
        b=_facts(run_b, b, rows_a, definitions, run_a),
        n_common=len(common),
        paired=dice_comparison(a, b, settings),
        verdict=dice_verdict(a, b, settings),
        metrics=_metrics(a, b, settings, definitions),
        omitted=definitions.omitted,
        patients=_patients(a, b, settings, compared),
        outcome_bounds=outcome_bounds(settings.worse_by),
        not_compared=not_compared_in(compared),
        fields=differing_fields(run_a.configuration, run_b.configuration),
        notices=notices_of(run_a, run_b, common),
        phantom=run_a.phantom or run_b.phantom,
        confidence=settings.confidence,
        resamples=settings.resamples,
        permutations=settings.permutations,
        seed=settings.seed,
    )


def _facts(
    run: RunEvaluation,
    rows: Rows,
    others: dict[str, PatientRow],
    definitions: Definitions,
    reference: RunEvaluation,
) -> RunFacts:
    averages = summarise(rows, reference.evaluation, seed=reference.result.seed)
    return RunFacts(
        name=run.name,
        network=run.network,
        design=run.design,
        n_test=len(run.result.rows),
        only_here=tuple(sorted(row.patient_id for row in run.result.rows if row.patient_id not in others)),
        split_hashes=tuple(split.hash for split in run.splits),
        threshold=run.result.threshold,
        scores={name: Score.from_average(average) for name, average in averages.items() if not definitions.omits(name)},
    )


def _metrics(a: Rows, b: Rows, settings: Settings, definitions: Definitions) -> tuple[PairedMetric, ...]:
    kept = [metric for metric in paired_metrics(a, b, settings) if metric.name not in definitions.omitted]
    adjusted = holm([metric.p for metric in kept])
    return tuple(replace(metric, p_holm=p) for metric, p in zip(kept, adjusted, strict=True))


def _patients(a: Rows, b: Rows, settings: Settings, compared: Compared) -> tuple[PatientLine, ...]:
    flips = flipped_patients(a, b, worse_by=settings.worse_by, compared=compared)
    changes = {flip.patient_id: tuple(jump_words(jump) for jump in flip.jumps) for flip in flips}
    return tuple(
        PatientLine(
            patient_id=pair.patient_id,
            institution=pair.institution,
            a=pair.dense,
            b=pair.pruned,
            difference=pair.difference,
            reference_voxels=pair.reference_voxels,
            a_voxels=pair.dense_voxels,
            b_voxels=pair.pruned_voxels,
            changes=changes.get(pair.patient_id, ()),
        )
        for pair in patient_pairs(a, b)
    )
