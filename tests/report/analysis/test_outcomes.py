import math
from dataclasses import replace

import pytest

from tests.report.analysis.made_up import QUICK, Found, row, rows_of, shifted
from tests.report.analysis.test_robustness_curves import result_of
from wcr_med.report.analysis.cost import fragile, pruning_cost, worst_disturbance
from wcr_med.report.analysis.flips import Compared, compared_in, flipped_patients, not_compared_in, outcome_bounds
from wcr_med.report.analysis.robustness import robustness_curves
from wcr_med.report.clinical.outcomes import (
    bounds_words,
    cost_rows,
    fragile_sentence,
    jump_words,
    unchanged_sentence,
)

BOUNDS = outcome_bounds(0.05)


def flips_of(before, after, **compared):
    return flipped_patients(before, after, worse_by=0.05, compared=Compared(**compared))


def test_counts_and_distances_are_compared_where_yes_and_no_do_not_change():
    (plain,) = rows_of([Found(shift=0, false=True)])
    before = replace(plain, n_false_lesions=2, n_slices_false_alarm=0, hd95_px=2.4)
    after = replace(plain, n_false_lesions=4, n_slices_false_alarm=4, hd95_px=75.5)
    (flip,) = flips_of([before], [after])
    assert [jump_words(jump) for jump in flip.jumps] == [
        "HD95 2.4 to 75.5 px",
        "tumour-free slices with an alarm 0 to 4",
        "false lesions 2 to 4",
    ]
    assert [jump.times_bound for jump in flip.jumps] == [pytest.approx(73.1 / 2), 4, 2]
    assert {jump.direction for jump in flip.jumps} == {"worse"}
    (back,) = flips_of([after], [before])
    assert {jump.direction for jump in back.jumps} == {"better"}


@pytest.mark.parametrize(
    ("field", "before", "after", "words"),
    [
        ("n_false_lesions", 0, 1, "false lesions 0 to 1"),
        ("n_slices_false_alarm", 0, 1, "tumour-free slices with an alarm 0 to 1"),
        ("hd95_px", 2.0, 4.0, None),
        ("hd95_px", 2.0, 4.1, "HD95 2.0 to 4.1 px"),
        ("dice", 0.8, 0.75, None),
        ("dice", 0.8, 0.74, "Dice 0.800 to 0.740"),
        ("fp", 0, 6, None),  # of a reference of 64 voxels
        ("fp", 0, 7, "predicted volume 64 to 71 voxels"),
    ],
)
def test_one_figure_beyond_its_bound_is_a_change(field, before, after, words):
    (plain,) = shifted(0)
    flips = flips_of([replace(plain, **{field: before})], [replace(plain, **{field: after})])
    assert [jump_words(jump) for flip in flips for jump in flip.jumps] == ([words] if words else [])


def test_a_volume_that_is_as_far_off_is_neither_worse_nor_better():
    (plain,) = shifted(0)
    (flip,) = flips_of([replace(plain, tp=54, fn=10)], [replace(plain, fp=10)])
    (jump,) = flip.jumps
    assert (jump.direction, flip.changes) == ("neither", ("volume as far off",))


def test_a_tumour_lost_comes_before_larger_changes_and_better_ones_last():
    dense = [
        row("better", Found(shift=None)),
        row("far", Found(shift=0)),
        row("lost", Found(shift=0), spacing_mm=(1, 1, 1)),
    ]
    far = replace(dense[1], hd95_px=1000.0)
    pruned = [row("better", Found(shift=0)), far, row("lost", Found(shift=None), spacing_mm=(1, 1, 1))]
    flips = flips_of(dense, pruned)
    assert [flip.patient_id for flip in flips] == ["lost", "far", "better"]
    assert [jump.what for jump in flips[0].jumps][:2] == ["tumour found", "lesions found"]
    assert jump_words(flips[0].jumps[0]) == "tumour found to missed"
    assert jump_words(flips[0].jumps[1]) == "lesions found 1 to 0 (lost number 1)"


def test_what_was_not_measured_is_said_and_not_taken_for_unchanged():
    before = [replace(entry, hd95_px=math.nan) for entry in shifted(0, 1)]
    compared = compared_in(before, before)
    assert not_compared_in(compared) == ("HD95",)
    assert not_compared_in(Compared(lesions=False)) == ("lesions found", "false lesions")
    sentence = unchanged_sentence(BOUNDS, not_compared=("HD95",))
    assert "HD95 by" not in sentence
    assert sentence.endswith("not alike: HD95.")
    assert compared_in(shifted(0, None), shifted(1, 1)) == Compared()
    empty = [row("a", Found(shift=None), size=0)]
    assert compared_in(empty, empty) == Compared()  # a right "nothing there" is a distance of 0


def test_the_sentence_names_every_bound():
    sentence = unchanged_sentence(BOUNDS)
    for words in (
        "a tumour found or missed",
        "a lesion lost or gained",
        "any change in the number of false lesions",
        "any change in the number of tumour-free slices with an alarm",
        "Dice by more than 0.05",
        "HD95 by more than 2 px",
        "predicted volume by more than 10\u00a0% of the reference volume",
    ):
        assert words in sentence
        assert words in bounds_words(BOUNDS)


def test_the_cost_of_pruning_is_counted():
    dense = rows_of([Found(shift=0), Found(shift=0), Found(shift=None)])
    pruned = rows_of([Found(shift=0, false=True), Found(shift=None), Found(shift=None)])
    cost = {figure.name: (figure.dense, figure.pruned, figure.of) for figure in pruning_cost(dense, pruned)}
    assert cost["dice_patient"] == (pytest.approx(2 / 3), pytest.approx((64 / 72) / 3, abs=0.02), None)
    assert cost["false_lesions"] == (0, 1, None)
    assert cost["missed_lesions"] == (1, 2, 3)
    assert cost["slices_with_alarm"] == (0, 1, 9)
    assert cost["hd95_px"][0] < cost["hd95_px"][1]
    rows = {entry.label: (entry.dense, entry.pruned) for entry in cost_rows(pruning_cost(dense, pruned), None)}
    assert rows["False lesions, number"] == ("0", "1")
    assert rows["Missed lesions, of 3"] == ("1", "2")
    assert rows["Tumour-free slices with an alarm, of 9"] == ("0", "1")
    assert rows["Dice under the worst disturbance"] == ("not measured", "not measured")


def test_nobody_with_a_dice_has_no_cost_in_dice():
    empty = [row("a", Found(shift=None), size=0)]
    rows = cost_rows(pruning_cost(empty, empty), None)
    assert (rows[0].dense, rows[0].pruned) == ("not defined", "not defined")
    assert (rows[3].label, rows[3].pruned) == ("HD95, mean", "not defined")


def test_a_distance_that_does_not_exist_is_not_one_that_was_not_measured():
    quiet, alarm = (row("a", Found(shift=None, false=false), size=0) for false in (False, True))
    hd95 = cost_rows(pruning_cost([quiet], [alarm]), None)[3]
    assert (hd95.dense, hd95.pruned) == ("not defined", "34.3\u00a0px")
    unmeasured = [replace(entry, hd95_px=math.nan) for entry in shifted(0, 1)]
    hd95 = cost_rows(pruning_cost(unmeasured, unmeasured), None)[3]
    assert (hd95.dense, hd95.pruned) == ("not measured", "not measured")


CLEAN = {"a": 0.9, "b": 0.8}
GONE = {"a": 0.0, "b": 0.0}


def curves_of(missing_dense, missing_pruned):
    result = result_of(
        ("dense", "none", 0.0, CLEAN),
        ("pruned-90", "none", 0.0, CLEAN),
        ("dense", "noise", 0.1, CLEAN),
        ("pruned-90", "noise", 0.1, {"a": 0.7, "b": 0.7}),
        ("dense", "missing_channel", 1.0, missing_dense),
        ("pruned-90", "missing_channel", 1.0, missing_pruned),
        ("dense", "missing_channel", 2.0, missing_dense),
        ("pruned-90", "missing_channel", 2.0, missing_pruned),
    )
    return robustness_curves(result, dense="dense", settings=QUICK)


def test_a_missing_sequence_that_leaves_nothing_is_loud():
    curves = curves_of({"a": 0.6, "b": 0.6}, GONE)
    worst = worst_disturbance(curves, dense="dense", pruned="pruned-90")
    assert (worst.disturbance, worst.strength, worst.dense, worst.pruned) == (
        "missing_channel",
        1,
        pytest.approx(0.6),
        0,
    )
    assert cost_rows((), worst)[0].loud
    (told,) = fragile(curves, dense="dense", pruned="pruned-90")
    assert fragile_sentence(told) == (
        "Fragile under 1\u00a0missing sequence: mean Dice is 0.000 after pruning (0.850 on the images as they are) and"
        " 0.600 dense (0.850), mean over 2\u00a0patients."
    )
    assert fragile(curves_of(GONE, CLEAN), dense="dense", pruned="pruned-90")  # the dense network alone, too


def test_a_disturbance_that_costs_little_is_not_loud():
    curves = curves_of(CLEAN, {"a": 0.5, "b": 0.5})
    worst = worst_disturbance(curves, dense="dense", pruned="pruned-90")
    assert worst.pruned == pytest.approx(0.5)
    assert not cost_rows((), worst)[0].loud
    assert fragile(curves, dense="dense", pruned="pruned-90") == ()
    assert worst_disturbance((), dense="dense", pruned="pruned-90") is None
    nobody = {"a": math.nan, "b": math.nan}
    nothing = result_of(("dense", "none", 0.0, nobody), ("pruned-90", "none", 0.0, nobody))
    assert (
        worst_disturbance(robustness_curves(nothing, dense="dense", settings=QUICK), dense="dense", pruned="pruned-90")
        is None
    )
