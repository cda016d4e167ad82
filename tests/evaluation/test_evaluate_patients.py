import copy
import csv
import math

import numpy as np
import pytest

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation import (
    EvaluationResult,
    choose_threshold,
    evaluate_patients,
    load_mask,
    load_probability,
    score_patient,
)
from wcr_med.evaluation.threshold import GRID
from wcr_med.metrics import surface_distances

CONFIG = EvaluationConfig(resamples=100)


def evaluate(patients, answer, **arguments):
    arguments = {"threshold": 0.5, "config": CONFIG, **arguments}
    return evaluate_patients(patients.predictor(answer), patients.entries, **arguments)


def perfect(volume):
    return volume.mask_SHW


def nothing(volume):
    return np.zeros(volume.mask_SHW.shape)


def everything(volume):
    return np.ones(volume.mask_SHW.shape)


def test_a_perfect_network(three_patients):
    result = evaluate(three_patients, perfect)
    assert [row.patient_id for row in result.rows] == ["large", "small", "none"]
    assert result.value("dice_patient") == result.value("f1_pooled") == result.value("mean_nsd_1px") == 1
    assert result.value("mean_hd95_px") == 0
    assert result.value("false_positive_rate_free_slices") == 0
    assert result.n_both_empty == 1
    assert result.averages["dice_patient"].n_patients == 2
    assert [row.empty for row in result.rows] == ["none", "none", "both"]
    assert math.isnan(result.rows[2].dice)


def test_a_network_that_finds_nothing_cannot_hide_it(three_patients):
    result = evaluate(three_patients, nothing)
    diagonal = math.sqrt(5**2 + 12**2 + 12**2)
    for name in ("dice_patient", "f1_pooled", "dice_slice_tumour", "mean_precision", "mean_recall", "mean_nsd_2px"):
        assert result.value(name) == 0, name
    assert result.value("mean_hd95_px") == pytest.approx(diagonal)
    assert result.value("mean_assd_px") == pytest.approx(diagonal)
    assert result.value("mean_relative_volume_error") == -1
    assert [row.empty for row in result.rows] == ["prediction", "prediction", "both"]


def test_a_network_that_cries_wolf(three_patients):
    result = evaluate(three_patients, everything)
    wolf = result.rows[2]
    assert (wolf.empty, wolf.dice, wolf.nsd["1"]) == ("reference", 0, 0)
    assert wolf.hd95_px == pytest.approx(math.sqrt(5**2 + 12**2 + 12**2))
    assert result.false_positive_voxels == 5 * 12 * 12
    assert result.value("false_positive_rate_free_slices") == 1
    assert result.averages["dice_patient"].n_patients == 3
    assert result.averages["mean_recall"].n_undefined == 1


def test_distances_are_left_out_on_request(three_patients):
    result = evaluate(three_patients, perfect, distances=False)
    assert not [name for name in result.averages if "px" in name]
    assert math.isnan(result.rows[0].hd95_px)
    assert result.rows[0].nsd == {}
    assert result.value("dice_patient") == 1


def test_the_threshold_decides(three_patients):
    faint = lambda volume: 0.4 * volume.mask_SHW  # noqa: E731 - a one-line answer
    assert evaluate(three_patients, faint).value("dice_patient") == 0
    assert evaluate(three_patients, faint, threshold=0.4).value("dice_patient") == 1


def test_known_spacing_gives_pixels_of_the_slice_and_millimetres():
    reference, prediction = np.zeros((4, 9, 9), np.uint8), np.zeros((4, 9, 9), np.uint8)
    reference[0, 4, 4], prediction[2, 4, 4] = 1, 1
    unknown, _ = score_patient(reference, prediction, patient_id="a")
    known, _ = score_patient(reference, prediction, patient_id="a", spacing_mm=(5.0, 0.5, 8.0))
    assert unknown.hd95_px == 2
    assert math.isnan(unknown.pixel_mm)
    assert math.isnan(unknown.voxel_ml)
    assert known.pixel_mm == 2.0
    assert known.hd95_px * known.pixel_mm == pytest.approx(10)
    assert known.voxel_ml == pytest.approx(0.02)
    anisotropic = surface_distances(reference, prediction, spacing=(5.0, 0.5, 8.0))
    assert known.assd_px * known.pixel_mm == pytest.approx(anisotropic.assd)


def test_tolerances_name_the_scores(three_patients):
    result = evaluate(three_patients, perfect, config=EvaluationConfig(resamples=50, tolerance_px=(1.5, 3.0)))
    assert {"mean_nsd_1.5px", "mean_nsd_3px"} <= set(result.averages)


def test_kept_predictions_come_back(three_patients, tmp_path):
    evaluate(three_patients, perfect, keep=tmp_path)
    mask_SHW = three_patients.volumes["large"].mask_SHW
    np.testing.assert_array_equal(load_mask(tmp_path, "large"), mask_SHW)
    np.testing.assert_array_equal(load_probability(tmp_path, "large"), mask_SHW)


def test_bad_requests_are_refused(three_patients):
    with pytest.raises(UserError, match="no patients"):
        evaluate_patients(three_patients.predictor(perfect), [], threshold=0.5, config=CONFIG)
    for threshold in (0.0, 1.0, math.nan):
        with pytest.raises(UserError, match="threshold"):
            evaluate(three_patients, perfect, threshold=threshold)


def test_a_patient_without_a_reference_is_refused(three_patients):
    volume = three_patients.volumes["small"]
    predict = three_patients.predictor(nothing)
    object.__setattr__(volume, "mask_SHW", None)
    with pytest.raises(UserError, match="small has no reference"):
        evaluate_patients(predict, three_patients.entries[1:2], threshold=0.5, config=CONFIG)


def test_the_result_survives_its_file(three_patients, tmp_path):
    result = evaluate(three_patients, everything)
    result.save(tmp_path)
    again = EvaluationResult.load(tmp_path / "metrics.json")
    assert again.to_dict() == result.to_dict()
    assert again.rows[:2] == result.rows[:2]
    assert math.isnan(again.rows[2].recall)


def test_one_line_a_patient(three_patients, tmp_path):
    evaluate(three_patients, perfect).save(tmp_path)
    with (tmp_path / "per_patient.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["patient_id"] for line in lines] == ["large", "small", "none"]
    assert lines[0]["dice"] == lines[0]["nsd_1px"] == "1.000000"
    assert lines[2]["dice"] == ""  # it does not exist
    assert int(lines[0]["tp"]) == 50


def test_one_line_a_lesion(three_patients, tmp_path):
    evaluate(three_patients, perfect).save(tmp_path)
    with (tmp_path / "per_lesion.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    # The small patient's lesion has 8 voxels, fewer than count.
    assert [(line["patient_id"], line["index"], line["n_voxels"]) for line in lines] == [("large", "1", "50")]
    assert (lines[0]["n_slices"], lines[0]["detected"], lines[0]["dice"]) == ("2", "1", "1.000000")
    assert lines[0]["volume_ml"] == ""  # the spacing is unknown
    with (tmp_path / "per_patient.csv").open(newline="") as stream:
        patient = next(csv.DictReader(stream))
    assert (patient["n_lesions"], patient["n_lesions_detected"], patient["n_false_lesions"]) == ("1", "1", "0")
    assert patient["detection_f1"] == patient["dice_lesion"] == "1.000000"
    assert (patient["n_voxels_in_question"], patient["brier"], patient["threshold"]) == ("50", "0.000000", "0.500000")
    assert not {"lesions", "calibration", "threshold_tp", "threshold_fp"} & set(patient)


def test_a_table_without_lesions_has_its_header(three_patients, tmp_path):
    predict = three_patients.predictor(nothing)
    evaluate_patients(predict, three_patients.entries[2:], threshold=0.5, config=CONFIG).save(tmp_path)
    assert (tmp_path / "per_lesion.csv").read_text().startswith("patient_id,institution,index,")


def test_lesions_found_and_missed(three_patients):
    config = EvaluationConfig(resamples=100, lesion_min_voxels=1)
    found = evaluate(three_patients, perfect, config=config)
    for name in ("dice_lesion", "detection_f1_pooled", "mean_detection_precision", "mean_detection_recall"):
        assert found.value(name) == 1, name
    assert found.averages["mean_detection_f1"].n_undefined == 1
    missed = evaluate(three_patients, nothing, config=config)
    for name in ("dice_lesion", "detection_f1_pooled", "mean_detection_precision", "mean_detection_recall"):
        assert missed.value(name) == 0, name
    wolf = evaluate(three_patients, everything, config=config)
    assert wolf.value("mean_detection_f1") == pytest.approx(2 / 3)  # right, right, false
    assert wolf.value("false_lesions_per_patient") == pytest.approx(1 / 3)
    assert wolf.value("dice_lesion") == pytest.approx((100 / (50 + 720) + 16 / (8 + 720)) / 2)
    assert (wolf.detection.detected, wolf.detection.false) == (2, 1)


def test_counts_at_every_threshold_agree_with_the_masks(three_patients):
    rng = np.random.default_rng(0)
    noise = {name: rng.random((5, 12, 12), dtype=np.float32) for name in three_patients.volumes}
    result = evaluate(three_patients, lambda volume: noise[volume.patient_id], threshold=0.3)
    place = GRID.index(0.3)
    for row in result.rows:
        assert (row.threshold_tp[place], row.threshold_fp[place]) == (row.tp, row.fp)
        assert len(row.threshold_tp) == len(row.threshold_fp) == len(GRID)
    assert result.calibration.n == sum(row.calibration.n for row in result.rows)
    assert result.value("brier_in_question") == pytest.approx(result.calibration.brier)


def test_scores_of_masks_alone_have_no_probabilities():
    mask = np.ones((2, 4, 4), np.uint8)
    row, _ = score_patient(mask, mask, patient_id="a")
    assert (row.calibration.n, row.threshold_tp, row.threshold_fp) == (0, (), ())
    assert math.isnan(row.threshold)


@pytest.mark.parametrize(("bad", "told"), [(math.nan, "with NaN"), (-0.5, "from -0.5 to"), (7.0, "from 0 to 7")])
def test_answers_that_are_no_probabilities_are_refused(three_patients, tmp_path, bad, told):
    def broken(volume):
        probability_SHW = np.zeros(volume.mask_SHW.shape)
        probability_SHW[2, 3, 4] = bad if volume.patient_id == "small" else 0
        return probability_SHW

    with pytest.raises(UserError, match=f"patient small, network pruned-90: probabilities {told}"):
        evaluate(three_patients, broken, network="pruned-90", keep=tmp_path)
    with pytest.raises(UserError, match="patient small: probabilities"):
        evaluate(three_patients, broken)
    with pytest.raises(UserError, match="patient small: probabilities"):
        choose_threshold(three_patients.predictor(broken), three_patients.entries)
    assert not list(tmp_path.rglob("small*"))


def test_what_a_predictor_refuses_names_the_patient(three_patients):
    def refuses(image_SHWC):
        raise UserError("the image has one channel, expected three")

    with pytest.raises(UserError, match="patient large, network dense: the image has one channel"):
        evaluate_patients(refuses, three_patients.entries, threshold=0.5, config=CONFIG, network="dense")
    with pytest.raises(UserError, match="does not fit these images"):
        evaluate_patients(lambda _: np.zeros((1, 2, 2)), three_patients.entries, threshold=0.5, config=CONFIG)


def test_files_that_counted_surface_voxels_are_read_without_their_distances(three_patients):
    document = evaluate(three_patients, perfect).to_dict()
    old = EvaluationResult.from_dict({**document, "schema_version": 2})
    assert not [name for name in old.averages if "px" in name]
    assert all(math.isnan(row.hd95_px) and math.isnan(row.assd_px) and not row.nsd for row in old.rows)
    assert old.value("dice_patient") == 1
    assert EvaluationResult.from_dict(document).rows[0].hd95_px == 0


def test_files_of_another_schema_are_refused(three_patients, tmp_path):
    document = evaluate(three_patients, perfect).to_dict()
    with pytest.raises(UserError, match="schema version 99"):
        EvaluationResult.from_dict({**document, "schema_version": 99})
    with pytest.raises(UserError, match=r"mine\.json: a field is missing"):
        EvaluationResult.from_dict({**document, "patients": [{"patient_id": "a"}]}, source="mine.json")
    damaged = copy.deepcopy(document)
    damaged["patients"][0]["calibration"]["n_K"].pop()
    with pytest.raises(UserError, match="a field is missing or unknown"):
        EvaluationResult.from_dict(damaged)


def test_patients_from_files(phantom_root):
    from wcr_med.config import DataConfig
    from wcr_med.data.index import index_patients, load_volume

    entries = index_patients(DataConfig(root=phantom_root))[:3]
    masks = [load_volume(entry).mask_SHW for entry in entries]
    answers = iter(masks)
    result = evaluate_patients(
        lambda _: next(answers).astype(np.float32), entries, threshold=0.5, config=CONFIG, progress=True
    )
    assert [row.patient_id for row in result.rows] == [entry.patient_id for entry in entries]
    assert [row.institution for row in result.rows] == [entry.institution for entry in entries]
    assert [row.tp for row in result.rows] == [int(mask.sum()) for mask in masks]


@pytest.mark.lgg
@pytest.mark.filterwarnings("ignore::FutureWarning")  # MONAI calls its own deprecated arguments
def test_real_patients_score_as_monai_does(lgg_root):
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    from wcr_med.config import DataConfig
    from wcr_med.data.index import index_patients, load_volume

    entry = index_patients(DataConfig(root=lgg_root))[0]
    reference_SHW = load_volume(entry).mask_SHW
    prediction_SHW = np.roll(reference_SHW, (1, 4, -6), axis=(0, 1, 2))
    row, _ = score_patient(reference_SHW, prediction_SHW, patient_id=entry.patient_id)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction_SHW, reference_SHW)]
    assert row.dice == pytest.approx(compute_dice(*tensors).item(), abs=1e-6)
    hd95 = compute_hausdorff_distance(*tensors, include_background=True, percentile=95).item()
    assert row.hd95_px == pytest.approx(hd95, rel=1e-5)
