"""The whole line on NIfTI volumes, and the exported file on one of them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.small import small_config
from wcr_med.config import parse_config
from wcr_med.data.index import index_patients, load_volume
from wcr_med.runtime import Segmenter, infer
from wcr_med.stages.run import run_stages
from wcr_med.stages.workspace import Workspace
from wcr_med.volumes import Array
from wcr_med.volumes.kaggle import read_kaggle_patient
from wcr_med.volumes.nifti import read_nifti

CHANNELS = ("*_pre.nii.gz", "*_flair.nii.gz", "*_post.nii.gz")
LABEL = "*_tumour.nii.gz"
# Axes of the file run to the left, to the front and to the head; slices are thicker than pixels.
AFFINE_44 = np.array([[-1.0, 0, 0, 31], [0, 1, 0, -40], [0, 0, 4, 7], [0, 0, 0, 1]])


def save(values_SHW: Array, path: Path) -> None:
    """Display order (head up, front first, right first) to the file's: x to the left, y to the front."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(values_SHW.transpose(2, 1, 0)[:, ::-1]), AFFINE_44), path)


@pytest.fixture(scope="module")
def nifti_root(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as NIfTI: one folder a patient, one file a sequence, and a label."""
    root = tmp_path_factory.mktemp("phantom") / "nifti"
    for folder in sorted(path for path in phantom_root.iterdir() if path.is_dir()):
        volume = read_kaggle_patient(folder, with_mask=True)
        assert volume.mask_SHW is not None
        (root / folder.name).mkdir(parents=True)
        names = (*CHANNELS, LABEL)
        images_SHW = (*np.moveaxis(volume.image_SHWC.astype(np.int16), -1, 0), volume.mask_SHW)
        for pattern, image_SHW in zip(names, images_SHW, strict=True):
            save(image_SHW, root / folder.name / pattern.replace("*", folder.name))
    return root


@pytest.fixture(scope="module")
def nifti_run(nifti_root: Path, run_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole job on it, done once."""
    document = small_config(nifti_root, run_cache).model_dump(mode="json")
    document["data"] |= {"format": "nifti", "nifti": {"channels": list(CHANNELS), "label": LABEL}}
    document["pruning"]["ladder"] = [0.9]
    config = parse_config(document, source="the test")
    workspace = Workspace(out=tmp_path_factory.mktemp("run"), config=config)
    run_stages(workspace)
    return workspace


def test_the_volumes_are_those_of_the_slices(nifti_run: Workspace, phantom_root: Path) -> None:
    entry = index_patients(nifti_run.config.data)[0]
    volume = load_volume(entry)
    original = read_kaggle_patient(phantom_root / entry.folder.name, with_mask=True)
    np.testing.assert_array_equal(volume.image_SHWC, original.image_SHWC)
    np.testing.assert_array_equal(volume.mask_SHW, original.mask_SHW)
    assert volume.spacing_mm == (4.0, 1.0, 1.0)


def test_the_run_ends_with_a_summary(nifti_run: Workspace) -> None:
    assert "nifti" in (nifti_run.out / "summary.md").read_text()
    assert nifti_run.onnx_path("pruned-90").exists()


def test_the_exported_file_answers_in_the_grid_of_the_input(
    nifti_run: Workspace, nifti_root: Path, tmp_path: Path
) -> None:
    patient = next(iter(sorted(nifti_root.iterdir())))
    model = nifti_run.onnx_path("pruned-90")
    # The file knows the patterns of its sequences: the label, and their order, need no word from the user.
    report = infer(model, [patient], tmp_path / "masks", threads=1, probabilities=True)
    assert report.ok
    (mask_path,) = report.volumes[0].mask_files
    source = nib.load(patient / f"{patient.name}_flair.nii.gz")
    mask, probability = nib.load(mask_path), nib.load(tmp_path / "masks" / f"{patient.name}_probability.nii.gz")
    assert mask.shape == probability.shape == source.shape
    np.testing.assert_array_equal(mask.affine, source.affine)
    assert mask.get_data_dtype() == np.uint8

    segmenter = Segmenter.from_file(model, threads=1)
    channels = [patient / pattern.replace("*", patient.name) for pattern in CHANNELS]
    expected_SHW = segmenter.probability(read_nifti(channels, None, patient_id="p").image_SHWC)
    written_SHW = np.asarray(probability.dataobj)[:, ::-1].transpose(2, 1, 0)
    # Slices go through ONNX Runtime in other batches here, and on some processors its rounding depends on that.
    np.testing.assert_allclose(written_SHW, expected_SHW, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        np.asarray(mask.dataobj) > 0, np.asarray(probability.dataobj) >= np.float32(segmenter.metadata.threshold)
    )
    lesion_ml = report.volumes[0].lesion_ml
    assert lesion_ml == pytest.approx(np.count_nonzero(mask.dataobj) * 4 / 1000)
