import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.report.analysis.made_up import PLANNED
from tests.report.side_by_side.squares import split_of
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import NO_PLAN
from wcr_med.report.side_by_side import compare_runs

A = {"p1": 0, "p2": 1, "p3": 2, "p4": 0}


def dice(shift):
    """Of two 10 x 10 squares, one `shift` rows below the other."""
    return max(0, 10 - shift) / 10


def metric(comparison, name):
    return {entry.name: entry for entry in comparison.metrics}[name]


def test_difference_is_b_minus_a_patient_by_patient(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", {"p1": 3, "p2": 1, "p3": 1, "p4": 0}))
    assert comparison.n_common == 4
    assert comparison.paired.mean_difference == pytest.approx((dice(3) - 1 + dice(1) - dice(2)) / 4)
    assert [line.patient_id for line in comparison.patients] == ["p1", "p2", "p4", "p3"]
    first = comparison.patients[0]
    assert (first.a, first.b) == (1, pytest.approx(dice(3)))
    assert first.reference_voxels == first.a_voxels == first.b_voxels == 200
    assert first.changes == ("Dice 1.000 to 0.700", "HD95 0.0 to 3.0 px")
    assert metric(comparison, "dice").difference.value == pytest.approx(comparison.paired.mean_difference)
    assert comparison.a.scores["dice_patient"].value == pytest.approx(np.mean([dice(shift) for shift in A.values()]))


def test_agrees_with_scipy(make_run):
    other = {"p1": 3, "p2": 2, "p3": 4, "p4": 1}
    comparison = compare_runs(make_run("a", A), make_run("b", other))
    differences = [dice(other[name]) - dice(A[name]) for name in A]
    assert comparison.paired.wilcoxon_p == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert comparison.paired.mean_difference == pytest.approx(np.mean(differences))


def test_a_run_against_its_double(make_run):
    many = {f"p{number}": number % 4 for number in range(40)}
    comparison = compare_runs(make_run("a", many), make_run("b", many))
    assert comparison.paired.mean_difference == 0
    assert comparison.verdict.status == "non-inferior"
    assert all(entry.shift == "not shown" for entry in comparison.metrics)
    assert comparison.fields == ()
    assert comparison.notices == ()


def test_only_common_patients_count_and_others_are_named(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", {"p3": 2, "p4": 0, "p9": 0}))
    assert comparison.n_common == 2
    assert comparison.a.only_here == ("p1", "p2")
    assert comparison.b.only_here == ("p9",)
    assert comparison.a.n_test == 4
    assert comparison.paired.mean_difference == 0
    assert comparison.a.scores["dice_patient"].n_patients == 2


def test_no_common_patient_is_refused(make_run):
    with pytest.raises(UserError, match="a and b: no patient was tested in both"):
        compare_runs(make_run("a", A), make_run("b", {"p9": 0}))


@pytest.mark.parametrize("options", [{"size": 9}, {"size": 8}])
def test_another_reference_mask_is_refused(make_run, options):
    with pytest.raises(UserError, match="patient p1: a volume of 4096 voxels with a reference of 200 in a"):
        compare_runs(make_run("a", A), make_run("b", A, **options))


def test_the_margin_is_that_of_run_a(make_run):
    alike = {f"p{number}": 0 for number in range(40)}
    worse = alike | {"p1": 3}
    for margin, status in ((0.01, "inconclusive"), (0.5, "non-inferior")):
        comparison = compare_runs(make_run("a", alike, margin=margin), make_run("b", worse, margin=margin))
        assert (comparison.verdict.status, comparison.verdict.margin) == (status, margin)


def test_plans_of_other_rules_give_no_verdict(make_run):
    alike = {f"p{number}": 0 for number in range(40)}
    comparison = compare_runs(make_run("a", alike, margin=0.5), make_run("b", alike))
    assert comparison.verdict.status == "exploration"
    assert "differ in evaluation.margin" in comparison.verdict.sentence
    assert any("margin is that of run A, 0.5; that of run B is 0.02" in text for text in comparison.notices)
    unplanned = compare_runs(make_run("a", alike), make_run("b", alike, plan=NO_PLAN))
    assert (unplanned.verdict.status, unplanned.verdict.reason[:6]) == ("no plan", "Run B:")
    chosen = compare_runs(make_run("a", alike, plan=replace(PLANNED, networks=("pruned-95",))), make_run("b", alike))
    assert chosen.verdict.status == "exploration"
    assert "Run A: pruned-90 is compared, and its plan gives a verdict on pruned-95" in chosen.verdict.reason


def test_too_few_patients_give_no_verdict(make_run):
    comparison = compare_runs(make_run("a", A, min_subgroup=10), make_run("b", A))
    assert comparison.to_dict()["verdict"]["status"] == "too few"


def test_a_single_patient_has_no_interval(make_run):
    comparison = compare_runs(make_run("a", {"p1": 0}, min_subgroup=1), make_run("b", {"p1": 1}))
    assert comparison.paired.interval is None
    assert comparison.verdict.status == "too few"


def test_nothing_to_find_and_nothing_found(make_run):
    empty = dict.fromkeys(A)
    comparison = compare_runs(make_run("a", empty), make_run("b", empty))
    assert comparison.paired.n_patients == 0
    assert all(math.isnan(line.difference) for line in comparison.patients)
    assert comparison.verdict.status == "too few"


def test_other_tolerances_are_left_out(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", A, tolerances_px=(1.0, 3.0)))
    assert set(comparison.omitted) == {"nsd_2px", "nsd_3px"}
    names = {entry.name for entry in comparison.metrics}
    assert "nsd_1px" in names
    assert not names & set(comparison.omitted)
    assert "mean_nsd_2px" not in comparison.a.scores
    assert "mean_nsd_1px" in comparison.a.scores


def test_other_lesion_sizes_are_left_out(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", A, lesion_min_voxels=11))
    assert set(comparison.omitted) == {"lesion_sensitivity", "lesion_precision", "lesion_f1"}
    assert "at least 10 voxels in A and 11 in B" in comparison.omitted["lesion_f1"]
    assert not any("lesion" in name or "detection" in name for name in comparison.b.scores)
    assert all(line.changes == () for line in comparison.patients)


def test_another_spacing_leaves_distances_out(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", A, spacing_mm=(3.0, 1.0, 1.0)))
    assert set(comparison.omitted) == {"hd95_px", "assd_px", "nsd_1px", "nsd_2px"}
    assert "p1, p2, p3 and p4" in comparison.omitted["hd95_px"]
    assert "mean_hd95_px" not in comparison.a.scores
    same = compare_runs(make_run("a", A, spacing_mm=(3.0, 1.0, 1.0)), make_run("b", A, spacing_mm=(3.0, 1.0, 1.0)))
    assert same.omitted == {}


def test_p_values_are_adjusted_over_what_is_left(make_run):
    other = {"p1": 3, "p2": 2, "p3": 4, "p4": 1}
    comparison = compare_runs(make_run("a", A), make_run("b", other, spacing_mm=(3.0, 1.0, 1.0)))
    tested = [entry.p for entry in comparison.metrics if math.isfinite(entry.p)]
    smallest = min(comparison.metrics, key=lambda entry: entry.p if math.isfinite(entry.p) else 2)
    assert smallest.p_holm == pytest.approx(min(1, len(tested) * min(tested)))


def test_differing_fields_by_dotted_name(make_run):
    one = {"seed": 0, "regularizer": {"name": "wcr", "strength": 1e-3}, "data": {"root": "x"}}
    two = {"seed": 0, "regularizer": {"name": "none", "strength": None}, "data": {"root": "x"}, "new": 1}
    comparison = compare_runs(make_run("a", A, configuration=one), make_run("b", A, configuration=two))
    assert [(entry.field, entry.a, entry.b) for entry in comparison.fields] == [
        ("new", None, 1),
        ("regularizer.name", "wcr", "none"),
        ("regularizer.strength", 1e-3, None),
    ]


def test_says_which_test_patients_trained_the_other_run(make_run):
    shifts = {"p1": 0, "p2": 0, "p3": 0}
    other = make_run("b", {"p2": 0, "p3": 1, "p4": 0}, splits=(split_of(["p2", "p3", "p4"], train=("p1", "t1")),))
    texts = compare_runs(make_run("a", shifts), other).notices
    assert any("1\u00a0test patient of run A trained or tuned run B (p1)" in text for text in texts)
    assert any("trained on different patients" in text for text in texts)


def test_folds_train_on_patients_that_they_test_elsewhere(make_run):
    splits = (
        split_of(["p1", "p2"], train=("p3",), validation=("p4",), method="fold 1 of 2"),
        split_of(["p3", "p4"], train=("p1",), validation=("p2",), method="fold 2 of 2"),
    )
    comparison = compare_runs(make_run("a", A), make_run("b", A, splits=splits))
    assert any("Each was scored by a network that never saw that patient" in text for text in comparison.notices)
    assert comparison.b.design == "2 folds, each tested by its own network (fold 1 of 2, ...)"
    assert comparison.a.design == "hold-out"
    assert len(comparison.b.split_hashes) == 2


def test_a_phantom_beside_patients_is_marked(make_run):
    comparison = compare_runs(make_run("a", A), make_run("b", A, phantom=True))
    assert comparison.phantom
    assert any("made-up images and the other is not" in text for text in comparison.notices)


def test_without_probabilities_calibration_is_not_defined(make_run):
    run = make_run("b", A)
    bare = tuple(
        dataclasses.replace(row, calibration=type(row.calibration)(), threshold_tp=(), threshold_fp=())
        for row in run.result.rows
    )
    comparison = compare_runs(
        make_run("a", A), dataclasses.replace(run, result=dataclasses.replace(run.result, rows=bare))
    )
    assert math.isnan(metric(comparison, "ece").difference.value)
