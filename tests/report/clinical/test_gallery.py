"""The gallery shows the right patients, slices and pixels, and stays small."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from wcr_med.config import ReportConfig
from wcr_med.data.index import load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.stored import load_mask
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.clinical.gallery import choose_slices, gallery
from wcr_med.report.clinical.gallery_choice import choose_patients


@pytest.fixture(scope="module")
def analysis(made_up):
    return analyse(made_up)


@pytest.fixture(scope="module")
def cases(made_up, analysis):
    return gallery(made_up, analysis)


def test_failures_come_first_and_the_best_last(made_up, analysis):
    chosen = choose_patients(made_up, analysis)
    ids = [patient_id for patient_id, _ in chosen]
    rows = {row.patient_id: row for row in made_up.pruned.result.rows}
    dice = {patient_id: row.dice for patient_id, row in rows.items() if np.isfinite(row.dice)}
    assert len(ids) == len(set(ids)) == made_up.settings.gallery_patients
    assert ids[0] == analysis.verdict.flips[0].patient_id
    assert min(dice, key=lambda patient_id: (dice[patient_id], patient_id)) in ids
    assert max(rows, key=lambda patient_id: rows[patient_id].fp) in ids
    assert dice[ids[-1]] == max(dice.values())
    assert all(reasons for _, reasons in chosen)


def test_a_patient_stands_once_with_every_reason(made_up, analysis):
    reasons = dict(choose_patients(made_up, analysis))
    flipped = {flip.patient_id for flip in analysis.verdict.flips}
    for patient_id, told in reasons.items():
        assert any("changed by pruning" in reason for reason in told) == (patient_id in flipped)
    assert any(len(told) > 1 for told in reasons.values())


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9, 99])
def test_never_more_patients_than_wanted(made_up, analysis, most):
    inputs = dataclasses.replace(made_up, settings=ReportConfig(gallery_patients=most))
    assert 0 < len(choose_patients(inputs, analysis)) <= min(most, analysis.n_patients)


def test_slices_of_most_tumour_error_and_difference_in_order():
    reference, dense, pruned = np.zeros((3, 30, 8, 8), np.uint8)
    reference[5, :6] = 1
    dense[5, :6] = 1
    pruned[5, :6] = 1
    dense[20, :5] = pruned[20, :5] = 1  # an error of both
    pruned[9, :4] = 1  # a difference
    assert choose_slices(reference, dense, pruned) == (5, 9, 20)
    assert choose_slices(reference, dense, pruned, most=2) == (5, 20)
    reference[:] = 1
    assert len(choose_slices(reference, dense, pruned)) == 8


def test_without_any_mask_the_middle_slice_is_shown():
    empty = np.zeros((9, 4, 4), np.uint8)
    assert choose_slices(empty, empty, empty) == (4,)


def test_counts_of_a_slice_are_those_of_the_masks(made_up, cases):
    for case in cases:
        reference = load_volume(made_up.entries[case.patient_id]).mask_SHW
        dense, pruned = (
            load_mask(network.folders[case.patient_id], case.patient_id) for network in (made_up.dense, made_up.pruned)
        )
        for shown in case.slices:
            index = shown.number - 1
            assert shown.n_reference == reference[index].sum()
            assert shown.n_dense == dense[index].sum()
            assert shown.n_pruned == pruned[index].sum()
            assert shown.n_lost == (dense[index] > pruned[index]).sum()
            assert shown.n_gained == (pruned[index] > dense[index]).sum()
            assert bool(shown.reference) == bool(shown.n_reference)
        assert [shown.number for shown in case.slices] == sorted(shown.number for shown in case.slices)


def test_pictures_have_the_size_that_the_outlines_are_drawn_in(cases):
    for case in cases:
        for shown in case.slices:
            head, _, data = shown.image.partition(",")
            assert head == "data:image/jpeg;base64"
            image = Image.open(io.BytesIO(base64.b64decode(data)))
            assert image.mode == "L"
            assert image.size == (case.width, case.height)  # small enough to be stored as it is
            numbers = [float(number) for number in re.findall(r"[\d.]+", shown.reference + shown.pruned)]
            assert max(numbers, default=0) <= max(case.width, case.height)


def test_sides_and_millimetres_are_told_only_where_known(cases):
    assert all("unknown" in case.scale and "do not say" in case.orientation for case in cases)
    for case in cases:
        assert case.channel == "FLAIR (channel 2 of 3)"
        for shown in case.slices:
            for frame in (shown.frame, shown.panels_frame):
                words = [text.words for text in frame.texts]
                assert words[0] == f"FLAIR, slice {shown.number} of {case.n_slices}"
                assert {"sides unknown", "research use only"} < set(words)
                assert not {"R", "L"} & set(words)
                assert sum(word.endswith(" px") for word in words) == 1


def test_the_same_inputs_give_the_same_gallery(made_up, analysis, cases):
    assert repr(gallery(made_up, analysis)) == repr(cases)


def test_nothing_to_show_where_all_is_empty(all_empty):
    assert gallery(all_empty, analyse(all_empty)) == ()


def test_one_patient(one_patient):
    (case,) = gallery(one_patient, analyse(one_patient))
    assert case.flipped
    assert np.isnan(case.dense)


def test_missing_patient_and_missing_mask_are_named(made_up, analysis, tmp_path):
    patient_id = choose_patients(made_up, analysis)[0][0]
    entries = {key: value for key, value in made_up.entries.items() if key != patient_id}
    with pytest.raises(UserError, match=patient_id):
        gallery(dataclasses.replace(made_up, entries=entries), analysis)
    lost = dataclasses.replace(made_up.dense, folders=dict.fromkeys(made_up.dense.folders, tmp_path))
    with pytest.raises(UserError, match=f"{patient_id}.*run the evaluation again"):
        gallery(dataclasses.replace(made_up, networks=(lost, *made_up.networks[1:])), analysis)
