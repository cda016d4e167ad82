import csv
import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.exported import small_volume
from wcr_med.errors import UserError
from wcr_med.runtime import Segmenter, infer
from wcr_med.volumes.images import read_mask


def write_slices(folder: Path, names: list[str], seed: int = 0) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    image_SHWC = small_volume(n_slices=len(names), seed=seed).image_SHWC
    for name, image_HWC in zip(names, image_SHWC, strict=True):
        Image.fromarray(image_HWC).save(folder / name)
    return image_SHWC


def write_nifti(path: Path, values: np.ndarray, axes: str = "LPS") -> np.ndarray:
    affine = np.diag([-0.8 if axes[0] == "L" else 0.8, -0.8 if axes[1] == "P" else 0.8, 2.0, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return affine


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_kaggle_patient(model_file: Path, tmp_path: Path, phantom_root: Path) -> None:
    patient = sorted(path for path in phantom_root.iterdir() if path.is_dir())[0]
    report = infer(model_file, [patient], tmp_path / "out", threads=1)
    assert report.ok
    (volume,) = report.volumes
    images = [path for path in patient.iterdir() if "mask" not in path.name]
    assert {path.name for path in volume.mask_files} == {f"{path.stem}_mask.tif" for path in images}
    assert all(path.parent == tmp_path / "out" / patient.name for path in volume.mask_files)
    masks = [read_mask(path) for path in volume.mask_files]
    assert masks[0].shape == (64, 64)
    assert sum(int(mask_HW.sum()) for mask_HW in masks) == volume.n_lesion_voxels
    assert sum(bool(mask_HW.any()) for mask_HW in masks) == volume.n_slices_with_lesion
    assert volume.lesion_ml is None
    (row,) = table(report.table)
    assert (row["volume"], row["slices"], row["lesion_ml"]) == (patient.name, str(len(images)), "")
    assert row["threshold"] == "0.5"


def test_png_slices_with_probabilities(model_file: Path, tmp_path: Path) -> None:
    names = ["s1.png", "s2.png", "s10.png"]
    image_SHWC = write_slices(tmp_path / "brain", names)
    report = infer(model_file, [tmp_path / "brain"], tmp_path / "out", probabilities=True, threads=1, batch_size=2)
    segmenter = Segmenter.from_file(model_file, threads=1)
    expected_SHW = segmenter.probability(image_SHWC, batch_size=2)
    folder = tmp_path / "out" / "brain"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"s{k}_mask.png" for k in (1, 2, 10)] + [f"s{k}_probability.tif" for k in (1, 2, 10)]
    )
    for name, expected_HW in zip(names, expected_SHW, strict=True):
        stem = Path(name).stem
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{stem}_probability.tif")), expected_HW)
        np.testing.assert_array_equal(read_mask(folder / f"{stem}_mask.png"), segmenter.binarise(expected_HW))
    assert report.volumes[0].n_slices == 3


@pytest.mark.parametrize("axes", ["LPS", "RAS"])
def test_a_4d_nifti_comes_back_in_its_own_space(model_file: Path, tmp_path: Path, axes: str) -> None:
    values = np.moveaxis(small_volume(n_slices=5).image_SHWC, 0, 2).astype(np.int16)  # x, y, z, channel
    affine = write_nifti(tmp_path / "case.nii.gz", values, axes)
    report = infer(model_file, [tmp_path / "case.nii.gz"], tmp_path / "out", probabilities=True, threads=1)
    mask = nib.load(tmp_path / "out" / "case_mask.nii.gz")
    probability = nib.load(tmp_path / "out" / "case_probability.nii.gz")
    assert mask.shape == probability.shape == values.shape[:3]
    np.testing.assert_allclose(mask.affine, affine)
    assert mask.get_data_dtype() == np.uint8
    assert probability.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(mask.dataobj) == 1, np.asarray(probability.dataobj) >= 0.5)
    (volume,) = report.volumes
    assert volume.lesion_ml == pytest.approx(volume.n_lesion_voxels * 0.8 * 0.8 * 2 / 1000)
    assert float(table(report.table)[0]["lesion_ml"]) == pytest.approx(volume.lesion_ml, rel=1e-3)


def test_nifti_by_channel_goes_by_the_patterns_of_the_file(model_file: Path, tmp_path: Path) -> None:
    values = np.moveaxis(small_volume(n_slices=4).image_SHWC, 0, 2)
    write_nifti(tmp_path / "all.nii.gz", values)
    for channel, letter in enumerate("abc"):
        write_nifti(tmp_path / "p1" / f"x_{letter}.nii.gz", values[..., channel])
    report = infer(model_file, [tmp_path / "p1", tmp_path / "all.nii.gz"], tmp_path / "out", threads=1)
    by_channel, whole = (nib.load(tmp_path / "out" / f"{name}_mask.nii.gz") for name in ("p1", "all"))
    assert report.ok
    np.testing.assert_array_equal(np.asarray(by_channel.dataobj), np.asarray(whole.dataobj))


def test_bad_inputs_are_collected_and_the_others_segmented(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "good", ["s1.png", "s2.png"])
    write_slices(tmp_path / "cut", ["s1.png", "s2.png"])
    cut = tmp_path / "cut" / "s2.png"
    cut.write_bytes(cut.read_bytes()[:200])
    write_nifti(tmp_path / "grey.nii.gz", np.ones((20, 20, 3), np.int16))
    inputs = [tmp_path / name for name in ("cut", "missing", "good", "grey.nii.gz")]
    report = infer(model_file, inputs, tmp_path / "out", threads=1)
    assert not report.ok
    assert [volume.name for volume in report.volumes] == ["good"]
    messages = {failure.name: failure.message for failure in report.failures}
    assert set(messages) == {"cut", "missing", "grey"}
    assert str(cut) in messages["cut"]
    assert messages["grey"].startswith(f"{tmp_path / 'grey.nii.gz'}: the image has 1 channels")
    assert all("\n" not in message for message in messages.values())
    rows = {row["volume"]: row for row in table(report.table)}
    assert rows["good"]["error"] == ""
    assert rows["cut"]["error"] == messages["cut"]
    assert not (tmp_path / "out" / "cut").exists()


def test_a_second_call_replaces_the_first(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "brain", ["s1.png"])
    first = infer(model_file, [tmp_path / "brain"], tmp_path / "out", threads=1)
    write_slices(tmp_path / "brain", ["s1.png"], seed=4)
    second = infer(model_file, [tmp_path / "brain"], tmp_path / "out", threads=1)
    assert first.volumes[0].mask_files == second.volumes[0].mask_files
    assert len(table(second.table)) == 1


@pytest.mark.parametrize("out", ["images/brain", "images", "images/brain/masks"])
def test_results_never_land_among_the_images(model_file: Path, tmp_path: Path, out: str) -> None:
    folder = tmp_path / "images" / "brain"
    write_slices(folder, ["a_1.tif"])
    with pytest.raises(UserError, match="among the images"):
        infer(model_file, [folder], tmp_path / out, threads=1)
    assert [path.name for path in folder.iterdir()] == ["a_1.tif"]


def test_a_bad_model_file_stops_before_any_image_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        infer(tmp_path / "none.onnx", [tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="no images"):
        infer(tmp_path / "none.onnx", [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "brain", ["s1.png"])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="choose another --out"):
        infer(model_file, [tmp_path / "brain"], tmp_path / "out", threads=1)


def test_sources_say_what_they_are(tmp_path: Path) -> None:
    from wcr_med.runtime import find_sources

    write_slices(tmp_path / "brain", ["s1.png"])
    (source,) = find_sources([tmp_path / "brain"]).sources
    assert dataclasses.asdict(source)["kind"] == "images"
    assert source.read().patient_id == "s1"
