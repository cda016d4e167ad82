"""The sentences that are made of numbers, in the cases where a loose one would flatter or mislead."""

import dataclasses

import pytest

from tests.report.analysis.made_up import EVALUATION, Found, inputs_of, row, shifted
from wcr_med.evaluation.plan import PlanStanding
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.analysis.verdict import JUDGED
from wcr_med.report.clinical import facts
from wcr_med.report.clinical.inputs import Deployment, Latency
from wcr_med.report.clinical.limits import limitations


def test_false_lesions_are_told_where_no_lesion_is_to_be_found():
    dense = [row(name, Found(shift=None), size=0) for name in "abc"]
    pruned = [row(name, Found(shift=None, false=True), size=0) for name in "abc"]
    text = facts.lesions_found(analyse(inputs_of(dense, pruned)))
    assert text == "No lesion in the reference; it raised 3\u00a0false ones."


def test_the_first_screen_says_why_a_difference_is_not_that_of_the_means():
    dense = (*shifted(0, 0, 0), row("q", Found(shift=None), size=0))
    pruned = (*shifted(0, 0, 0), row("q", Found(shift=None, false=True), size=0))
    assert "In 1\u00a0patient without a lesion" in facts.cost(analyse(inputs_of(dense, pruned)).verdict.paired)
    assert "without a lesion" not in facts.cost(analyse(inputs_of(dense, dense)).verdict.paired)


def file_of(name, milliseconds, *, accelerated=False):
    return Deployment(
        file=name,
        size_bytes=1000,
        dense_bytes=4000,
        logit_difference=0.0,
        dice_difference=0.0,
        n_slices=1,
        latency=(Latency(threads=1, p50_ms=milliseconds, p95_ms=2 * milliseconds, n_runs=3),),
        accelerated=accelerated,
    )


@pytest.mark.parametrize(
    ("dense_files", "expected"),
    [
        ((file_of("d", 9.0), file_of("da", 4.0, accelerated=True)), "dense 4.00\u00a0ms."),
        ((file_of("d", 9.0),), "dense 9.00\u00a0ms without them."),
    ],
)
def test_speed_is_told_against_the_fastest_dense_file(dense_files, expected):
    """The accelerated pruned file beside the portable dense one alone would claim too much for pruning."""
    inputs = inputs_of(shifted(0, 1, 2), shifted(0, 1, 2))
    pruned_files = (file_of("p", 8.0), file_of("pa", 3.0, accelerated=True))
    networks = tuple(
        dataclasses.replace(network, deployment=files)
        for network, files in zip(inputs.networks, (dense_files, pruned_files), strict=True)
    )
    _, text = facts.deployment_answer(analyse(dataclasses.replace(inputs, networks=networks)))
    assert "3.00\u00a0ms a slice" in text
    assert "with the package\u2019s own operators" in text
    assert text.endswith(expected)


def test_a_threshold_of_the_configuration_is_not_said_to_be_chosen():
    inputs = inputs_of(shifted(0, 1), shifted(0, 1))
    assert "validation" in facts.threshold_sentence(inputs)
    fixed = dataclasses.replace(inputs, evaluation=EVALUATION.model_copy(update={"threshold": 0.5}))
    assert facts.threshold_sentence(fixed) == "The threshold of every network was set to 0.5 in the configuration."


@pytest.mark.parametrize("design", ["cross-validation", "leave-one-institution-out"])
def test_one_partition_is_not_told_as_several(design):
    """A run of one fold, or of one institution left out, has one network."""
    inputs = inputs_of(shifted(0, 1), shifted(0, 1), design=design)
    told = (facts.design_words(inputs), facts.partition_sentence(inputs), facts.whom(inputs, analyse(inputs)))
    assert not any("pooled" in text or "in turn" in text or "were trained" in text for text in told)
    assert "never seen in training" in told[2]
    assert not any("networks together" in sentence for sentence in limitations(inputs, analyse(inputs)))


def test_several_partitions_are_several_networks():
    inputs = inputs_of(shifted(0, 1), shifted(0, 1))
    (whole,) = inputs.partitions
    folds = tuple(
        dataclasses.replace(whole, name=f"fold {place}", parts={**whole.parts, "test": (patient_id,)})
        for place, patient_id in enumerate(whole.parts["test"])
    )
    inputs = dataclasses.replace(inputs, design="cross-validation", partitions=folds)
    assert any("of 2 networks together" in sentence for sentence in limitations(inputs, analyse(inputs)))


def test_multiplicity_is_that_of_the_planned_comparison():
    inputs = inputs_of(shifted(*[0] * 6), shifted(*[1] * 6))
    other = dataclasses.replace(inputs.networks[1], name="pruned-50", sparsity_prunable=0.5)
    dense, pruned = inputs.networks
    analysis = analyse(dataclasses.replace(inputs, networks=(dense, other, pruned)))
    assert "There are 2 pruned networks" in analysis.statistics.multiplicity
    n_groups = sum(group.verdict in JUDGED for entry in analysis.verdict.attributes for group in entry.groups)
    assert n_groups == 0
    assert "No subgroup has a verdict." in analysis.statistics.multiplicity


@pytest.mark.parametrize("status", ["no plan", "exploration"])
def test_without_a_plan_nothing_is_known_of_what_was_planned(status):
    inputs = inputs_of(shifted(*[0] * 6), shifted(*[1] * 6))
    inputs = dataclasses.replace(inputs, plan=PlanStanding(status=status, reason="For a reason."))
    analysis = analyse(inputs)
    assert "No comparison here is shown to have been set before training" in analysis.statistics.multiplicity
    assert any("none is shown to have been planned" in sentence for sentence in limitations(inputs, analysis))


@pytest.mark.parametrize(("n_patients", "expected"), [(4, "no interval and no verdict"), (5, "intervals are rough")])
def test_intervals_that_do_not_exist_are_not_called_rough(n_patients, expected):
    rows = shifted(*[0] * n_patients)
    inputs = inputs_of(rows, rows)
    inputs = dataclasses.replace(inputs, settings=inputs.settings.model_copy(update={"min_subgroup": 10}))
    assert expected in analyse(inputs).notices_of("summary")[0]
