"""Inputs of a report -> every number in it."""

from collections.abc import Sequence

from wcr_med.evaluation.rows import PatientRow
from wcr_med.metrics.verdict import PROCEDURE
from wcr_med.report.analysis.agreement import volume_agreement
from wcr_med.report.analysis.calibration import calibration_of
from wcr_med.report.analysis.checks import check_inputs
from wcr_med.report.analysis.cost import pruning_cost, worst_disturbance
from wcr_med.report.analysis.definitions import definitions
from wcr_med.report.analysis.demographics import demographics_of, partition_facts
from wcr_med.report.analysis.document import Analysis, Comparison, NetworkAnalysis, RobustnessCurve, Statistics
from wcr_med.report.analysis.flips import compared_in, flipped_patients, not_compared_in, outcome_bounds
from wcr_med.report.analysis.grouping import Grouping, groupings
from wcr_med.report.analysis.lesions import lesion_detection, lesion_points
from wcr_med.report.analysis.notices import notices_of
from wcr_med.report.analysis.paired import dice_comparison, dice_verdict, paired_metrics, patient_pairs
from wcr_med.report.analysis.robustness import robustness_curves
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.analysis.subgroups import attribute_analyses
from wcr_med.report.analysis.summary import cases_of, partition_scores, scores_of, threshold_in
from wcr_med.report.analysis.thresholds import threshold_curve
from wcr_med.report.analysis.verdict import JUDGED
from wcr_med.report.clinical.inputs import Network, ReportInputs


def analyse(inputs: ReportInputs) -> Analysis:
    """Compute the analysis. The same inputs give the same numbers; no image is opened.

    Raises:
        UserError: a number would be wrong (`wcr_med.report.analysis.checks.check_inputs`), or robustness was measured
            on other patients for one network.
    """
    check_inputs(inputs)
    settings = Settings.of(inputs.evaluation, inputs.settings, inputs.dense.result, inputs.plan)
    rows = {network.name: _sorted_rows(network) for network in inputs.networks}
    dense = rows[inputs.dense.name]
    groups = groupings(dense, inputs.attributes, columns=inputs.settings.subgroup_columns)
    networks = tuple(_network(network, rows[network.name], inputs, settings) for network in inputs.networks)
    robustness = robustness_curves(inputs.robustness, dense=inputs.dense.name, settings=settings)
    comparisons = tuple(
        _comparison(network, dense, rows[network.name], groups, settings, robustness) for network in inputs.networks[1:]
    )
    return Analysis(
        title=inputs.title,
        design=inputs.design,
        phantom=inputs.phantom,
        n_patients=len(dense),
        primary=inputs.primary,
        networks=networks,
        comparisons=comparisons,
        partitions=tuple(partition_facts(partition) for partition in inputs.partitions),
        demographics=demographics_of(inputs.attributes, inputs.partitions),
        robustness=robustness,
        ladder=inputs.ladder,
        deployment={network.name: network.deployment for network in inputs.networks},
        leak=inputs.leak,
        statistics=_statistics(inputs, settings, comparisons),
        definitions=definitions(),
        notices=notices_of(inputs, networks, robustness),
    )


def _network(network: Network, rows: Sequence[PatientRow], inputs: ReportInputs, settings: Settings) -> NetworkAnalysis:
    scores, undefined = scores_of(network.result, settings)
    by_id = {row.patient_id: row for row in rows}
    chosen = {
        partition.name: threshold_in(network.name, partition, [by_id[patient] for patient in partition.parts["test"]])
        for partition in inputs.partitions
    }
    return NetworkAnalysis(
        name=network.name,
        label=network.label,
        sparsity_prunable=network.sparsity_prunable,
        sparsity_all=network.sparsity_all,
        n_prunable=network.n_prunable,
        n_all=network.n_all,
        repair=network.repair,
        retrained_epochs=network.retrained_epochs,
        scores=scores,
        n_undefined=undefined,
        cases=cases_of(rows),
        lesions=lesion_detection(rows, settings),
        volume=volume_agreement(rows, settings),
        calibration=calibration_of(rows, settings),
        threshold=threshold_curve(rows, chosen, margin=settings.margin),
        partitions=partition_scores(network.name, by_id, inputs.partitions, settings),
    )


def _comparison(
    network: Network,
    dense: Sequence[PatientRow],
    pruned: Sequence[PatientRow],
    groups: Sequence[Grouping],
    settings: Settings,
    robustness: Sequence[RobustnessCurve],
) -> Comparison:
    compared = compared_in(dense, pruned)
    return Comparison(
        network=network.name,
        label=network.label,
        paired=dice_comparison(dense, pruned, settings),
        verdict=dice_verdict(dense, pruned, settings, network=network.name),
        metrics=paired_metrics(dense, pruned, settings),
        pairs=patient_pairs(dense, pruned),
        cost=pruning_cost(dense, pruned),
        worst_disturbance=worst_disturbance(robustness, dense="dense", pruned=network.name),
        flips=flipped_patients(dense, pruned, worse_by=settings.worse_by, compared=compared),
        not_compared=not_compared_in(compared),
        lesions=lesion_points(dense, pruned),
        attributes=attribute_analyses(dense, pruned, groups, settings),
    )


def _statistics(inputs: ReportInputs, settings: Settings, comparisons: Sequence[Comparison]) -> Statistics:
    return Statistics(
        confidence=settings.confidence,
        resamples=settings.resamples,
        permutations=settings.permutations,
        seed=settings.seed,
        margin=settings.margin,
        worse_by=settings.worse_by,
        outcome_bounds=outcome_bounds(settings.worse_by),
        min_subgroup=settings.min_subgroup,
        min_patients=comparisons[0].verdict.min_patients,
        procedure=PROCEDURE,
        plan=settings.plan,
        lesion_min_voxels=settings.lesion_min_voxels,
        tolerances_px=inputs.evaluation.tolerance_px,
        multiplicity=_multiplicity(settings, comparisons, primary=inputs.primary),
    )


def _multiplicity(settings: Settings, comparisons: Sequence[Comparison], *, primary: str) -> str:
    planned = next(comparison for comparison in comparisons if comparison.network == primary)
    n_tested = sum(entry.harm is not None for entry in planned.attributes)
    n_groups = sum(group.verdict in JUDGED for entry in planned.attributes for group in entry.groups)
    n_networks = len(comparisons)
    several = f" There are {n_networks} pruned networks; nothing is adjusted across them." if n_networks > 1 else ""
    one = (
        "One comparison was set before training: dice_patient of the primary pruned network against the dense one, at a"
        f" margin of {settings.margin:g}. Everything else explores."
        if settings.plan.status == "planned"
        else "No comparison here is shown to have been set before training: everything explores."
    )
    least = planned.verdict.min_patients
    groups = (
        f" Subgroup verdicts ({n_groups} groups of at least {least} patients) are not adjusted; that some fail by"
        " chance is expected."
        if n_groups
        else " No subgroup has a verdict."
    )
    harm = (
        " The harm test takes the largest harm over the groups of an attribute"
        f" ({settings.permutations} permutations, seed {settings.seed}) and is adjusted over {n_tested}"
        " attributes (Holm)."
        if n_tested
        else ""
    )
    return (
        f"{one} The table compares {len(planned.metrics)} metrics: intervals and p are not adjusted, p_holm is (Holm,"
        f" over all of them).{groups}{harm}{several}"
    )


def _sorted_rows(network: Network) -> tuple[PatientRow, ...]:
    """By patient id, so that every network has the same patients in the same order."""
    return tuple(sorted(network.result.rows, key=lambda row: row.patient_id))
