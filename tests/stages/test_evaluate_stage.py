"""What an evaluation leaves in its folder is enough to compute its figures again."""

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest

from wcr_med.evaluation import EvaluationResult, load_mask, load_probability
from wcr_med.evaluation.stored import mask_path, probability_path
from wcr_med.files import read_json, write_json
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import Workspace


@pytest.mark.parametrize("name", ["dense", "pruned-90-onnx"])
def test_stored_predictions_give_the_scores_again(finished: Workspace, name: str) -> None:
    folder = finished.evaluation_folder(name)
    result = EvaluationResult.load(folder / "metrics.json")
    test = set(open_patients(finished).split.test)
    assert {path.name.removesuffix(".nii.gz") for path in (folder / "masks").iterdir()} == test
    assert {path.stem for path in (folder / "probabilities").iterdir()} == test
    for row in result.rows:
        mask_SHW = load_mask(folder, row.patient_id)
        assert (int(mask_SHW.sum()), len(mask_SHW)) == (row.tp + row.fp, row.n_slices)
        probability_SHW = load_probability(folder, row.patient_id)
        assert (probability_SHW[mask_SHW == 1] >= row.threshold - 1 / 255).all()
        assert (probability_SHW[mask_SHW == 0] <= row.threshold + 1 / 255).all()
        np.testing.assert_array_equal(np.asarray(nib.load(mask_path(folder, row.patient_id)).dataobj).T, mask_SHW)
    with (folder / "per_lesion.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == sum(len(row.lesions) for row in result.rows)


def test_results_of_another_schema_are_made_again(finished: Workspace, tmp_path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    workspace = Workspace(out=tmp_path / "run", config=finished.config)
    path = workspace.evaluation_folder("dense") / "metrics.json"
    write_json(path, read_json(path) | {"schema_version": 1})
    (path.parent / "masks" / "stranger.nii.gz").write_bytes(b"")
    assert "dice_patient" in evaluate_stage(workspace)
    assert read_json(path) == read_json(finished.evaluation_folder("dense") / "metrics.json")
    assert not (path.parent / "masks" / "stranger.nii.gz").exists()


def test_a_damaged_prediction_is_made_again(finished: Workspace, tmp_path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    workspace = Workspace(out=tmp_path / "run", config=finished.config)
    folder = workspace.evaluation_folder("dense")
    patient_id = open_patients(workspace).split.test[0]
    before = load_probability(folder, patient_id)
    probability_path(folder, patient_id).write_bytes(b"")
    evaluate_stage(workspace)
    np.testing.assert_array_equal(load_probability(folder, patient_id), before)
