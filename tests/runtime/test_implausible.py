"""Images whose air is not about zero, through `infer`: never a mask without a word."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.exported import SIZE, export_small, small_artefact, small_volume
from tests.plausibility.heads import head
from wcr_med.cli import app
from wcr_med.plausibility import fit_statistics, look
from wcr_med.preprocess import PreprocessSettings, survey
from wcr_med.runtime import Segmenter, infer

IMAGE_SHWC = small_volume(n_slices=5, size=40, seed=3).image_SHWC.astype(np.float32) * 10
AIR_SHWC = IMAGE_SHWC == 0
SETTINGS = PreprocessSettings(height=SIZE, width=SIZE)


def scaled(values: np.ndarray, *, zero: bool) -> np.ndarray:
    result = (values - values[~AIR_SHWC].mean()) / values[~AIR_SHWC].std()
    return np.where(AIR_SHWC, 0, result) if zero else result


def padded(values: np.ndarray) -> np.ndarray:
    result = values.copy()
    result[:, :4] = result[:, -4:] = 4095
    return result


FAULTS = {
    "z-scored, air zero": (scaled(IMAGE_SHWC, zero=True), "voxels below zero"),
    "z-scored": (scaled(IMAGE_SHWC, zero=False), "voxels below zero"),
    "shifted": (IMAGE_SHWC - 1000, "voxels below zero: 65% of channel 1"),
    "intercept": (IMAGE_SHWC - 1024, "voxels below zero: "),
    "padded": (padded(IMAGE_SHWC), "voxels at the largest value: 20%"),
}


def write(path: Path, image_SHWC: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.moveaxis(image_SHWC, (0, 1, 2), (2, 1, 0)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 3.0, 1.0])), path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_warning_in_log_table_and_exit_code(model_file, tmp_path, caplog, fault):
    image_SHWC, words = FAULTS[fault]
    write(tmp_path / "in" / "a.nii.gz", image_SHWC)
    report = infer(model_file, [tmp_path / "in" / "a.nii.gz"], tmp_path / "out", threads=1)
    assert not report.failures
    assert report.exit_code == 3
    (volume,) = report.warnings
    assert words in volume.warning
    assert "expected at most" in volume.warning
    assert words in caplog.text
    with (tmp_path / "out" / "volumes.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["warning"] == volume.warning
    kept = infer(model_file, [tmp_path / "in" / "a.nii.gz"], tmp_path / "out", threads=1, resume=True)
    assert kept.volumes[0].resumed
    assert kept.volumes[0].warning == volume.warning
    assert kept.exit_code == 3


def test_a_sound_image_has_none(model_file, tmp_path):
    write(tmp_path / "in" / "a.nii.gz", IMAGE_SHWC)
    report = infer(model_file, [tmp_path / "in" / "a.nii.gz"], tmp_path / "out", threads=1)
    assert report.exit_code == 0
    assert report.volumes[0].warning == ""


def test_an_offset_below_all_is_a_failure_that_tells_the_share(model_file, tmp_path):
    write(tmp_path / "in" / "a.nii.gz", IMAGE_SHWC - 4000)
    report = infer(model_file, [tmp_path / "in" / "a.nii.gz"], tmp_path / "out", threads=1)
    assert "100% of the voxels are below zero" in report.failures[0].message


@pytest.mark.parametrize("value", [0.0, -5.0, 9.0])
def test_nothing_above_zero_is_a_failure(model_file, tmp_path, value):
    write(tmp_path / "in" / "a.nii.gz", np.full_like(IMAGE_SHWC, value))
    report = infer(model_file, [tmp_path / "in" / "a.nii.gz"], tmp_path / "out", threads=1)
    assert "nothing to segment" in report.failures[0].message
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize("value", [0.0, -5.0, 9.0])
def test_nothing_above_zero_is_a_warning_of_the_segmenter(model_file, value):
    with Segmenter.from_file(model_file, threads=1) as segmenter:
        result = segmenter(np.full_like(IMAGE_SHWC, value))
    assert "nothing to segment" in result.warnings[0]


def test_the_command_tells(model_file, tmp_path):
    write(tmp_path / "in" / "a.nii.gz", IMAGE_SHWC - 1000)
    command = ["infer", str(model_file), str(tmp_path / "in" / "a.nii.gz"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--threads", "1"])
    assert result.exit_code == 3
    assert "masks of 1 may be wrong" in result.stderr
    assert "voxels below zero: " in result.stderr


def test_a_slope_of_zero_is_refused(model_file, tmp_path):
    pytest.importorskip("pydicom")
    from tests.volumes.dicom_files import write_series

    for number in (1, 2, 3):
        write_series(tmp_path / "p", IMAGE_SHWC[..., 0].astype(np.uint16), number=number, RescaleSlope="0")
    which = [f"{number}={number}" for number in (1, 2, 3)]
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, channels=which)
    assert "RescaleSlope is 0" in report.failures[0].message


def test_an_intercept_of_dicom_is_told(model_file, tmp_path):
    pytest.importorskip("highdicom")
    from tests.volumes.dicom_files import write_series

    for number in (1, 2, 3):
        write_series(tmp_path / "p", IMAGE_SHWC[..., 0].astype(np.uint16), number=number, RescaleIntercept="-1024",
                     RescaleSlope="1")  # fmt: skip
    which = [f"{number}={number}" for number in (1, 2, 3)]
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, channels=which)
    assert "voxels below zero: " in report.volumes[0].warning


def test_a_call_from_python_tells_too(model_file, caplog):
    with Segmenter.from_file(model_file, threads=1) as segment:
        assert segment(IMAGE_SHWC).warnings == ()
        (warning,) = segment(IMAGE_SHWC - 1000).warnings
    assert warning.startswith("voxels below zero")
    assert "the mask may be wrong: voxels below zero" in caplog.text


def test_statistics_in_the_file_let_swapped_channels_be_told(network, tmp_path, caplog):
    looks = [look(image, survey(image, SETTINGS)) for image in map(head, range(16))]
    statistics = fit_statistics(looks)
    artefact = small_artefact(channels=("T1", "FLAIR", "T1c"), image_statistics=statistics.to_dict())
    path = export_small(tmp_path / "known.onnx", network, artefact).path
    for name, order in (("right", (0, 1, 2)), ("wrong", (1, 0, 2))):
        write(tmp_path / "in" / f"{name}.nii.gz", head(100)[..., list(order)])
    files = sorted((tmp_path / "in").iterdir())
    right, wrong = infer(path, files, tmp_path / "out", threads=1).volumes
    assert right.warning == ""
    assert "channels look swapped: the training images fit better with T1 in place 2, FLAIR in place 1" in wrong.warning
    which = ["T1=2", "FLAIR=1", "T1c=3"]
    (mended,) = infer(path, files[1:], tmp_path / "out2", threads=1, channels=which).volumes
    assert mended.warning == ""
    assert mended.n_lesion_voxels == right.n_lesion_voxels
    assert mended.channels == "T1: channel 2; FLAIR: channel 1; T1c: channel 3"
