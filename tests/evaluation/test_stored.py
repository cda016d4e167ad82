"""Stored predictions come back as they were, of TIFF and of NIfTI patients, and lie where the images lie."""

import contextlib

import nibabel as nib
import numpy as np
import pytest

from wcr_med.errors import UserError
from wcr_med.evaluation import load_mask, load_probability, save_prediction
from wcr_med.evaluation.stored import clear_predictions, mask_path, probability_path
from wcr_med.volumes import Volume
from wcr_med.volumes.nifti import read_nifti

SHAPE = (4, 6, 9)  # slices, rows, columns


def answer(seed=0):
    probability_SHW = np.random.default_rng(seed).random(SHAPE, dtype=np.float32)
    return probability_SHW, (probability_SHW >= 0.7).astype(np.uint8)


def tiff_volume(spacing_mm=None):
    return Volume(
        patient_id="TCGA_CS_1",
        image_SHWC=np.ones((*SHAPE, 3), np.uint8),
        mask_SHW=None,
        spacing_mm=spacing_mm,
        names=tuple("abcd"),
        nifti=None,
    )


def nifti_volume(folder, axes, *, oblique=False):
    """A volume whose file holds its axes as `axes` says, for example ("P", "S", "R")."""
    affine = np.diag([0.8, 0.9, 5.0, 1.0])
    if oblique:
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
        affine = turn @ affine
    affine[:3, 3] = (-31.0, 12.0, 4.5)
    image = nib.Nifti1Image(np.random.default_rng(1).integers(1, 99, (9, 6, 4)).astype(np.int16), affine)
    way = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    path = folder / "image.nii.gz"
    nib.save(image.as_reoriented(way), path)
    return path, read_nifti([path], None, patient_id="p1")


@pytest.mark.parametrize("spacing_mm", [None, (5.0, 0.8, 0.9)])
def test_a_tiff_patient_comes_back(tmp_path, spacing_mm):
    probability_SHW, mask_SHW = answer()
    save_prediction(tmp_path, tiff_volume(spacing_mm), probability_SHW, mask_SHW)
    loaded = load_mask(tmp_path, "TCGA_CS_1")
    assert (loaded.dtype, loaded.shape) == (np.uint8, SHAPE)
    np.testing.assert_array_equal(loaded, mask_SHW)
    again = load_probability(tmp_path, "TCGA_CS_1")
    assert (again.dtype, again.shape) == (np.float32, SHAPE)
    np.testing.assert_allclose(again, probability_SHW, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("spacing_mm", [None, (5.0, 0.8, 0.9)])
def test_the_file_of_a_tiff_patient_says_where_its_axes_run(tmp_path, spacing_mm):
    probability_SHW, mask_SHW = answer()
    save_prediction(tmp_path, tiff_volume(spacing_mm), probability_SHW, mask_SHW)
    image = nib.load(mask_path(tmp_path, "TCGA_CS_1"))
    assert image.shape == SHAPE[::-1]
    assert image.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    slice_step, row_step, column_step = spacing_mm or (1, 1, 1)
    np.testing.assert_allclose(image.affine, np.diag([-column_step, -row_step, slice_step, 1]), rtol=1e-6)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == ("mm" if spacing_mm else "unknown")
    np.testing.assert_array_equal(np.asarray(image.dataobj)[3, 2, 1], mask_SHW[1, 2, 3])


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("axes", [("R", "A", "S"), ("L", "P", "S"), ("P", "S", "R"), ("I", "L", "A")])
def test_a_nifti_patient_comes_back_on_its_own_grid(tmp_path, axes, oblique):
    path, volume = nifti_volume(tmp_path, axes, oblique=oblique)
    probability_SHW, mask_SHW = answer()
    save_prediction(tmp_path / "out", volume, probability_SHW, mask_SHW)
    np.testing.assert_array_equal(load_mask(tmp_path / "out", "p1"), mask_SHW)
    np.testing.assert_allclose(load_probability(tmp_path / "out", "p1"), probability_SHW, atol=0.5 / 255 + 1e-6)
    stored, own = nib.load(mask_path(tmp_path / "out", "p1")), nib.load(path)
    assert stored.shape == own.shape
    np.testing.assert_array_equal(stored.affine, own.affine)


def test_the_same_prediction_makes_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        save_prediction(tmp_path / name, tiff_volume(), *answer())
    for place in (mask_path, probability_path):
        first, second = (place(tmp_path / name, "TCGA_CS_1").read_bytes() for name in ("one", "two"))
        assert first == second


def test_zero_and_one_are_kept_exactly(tmp_path):
    probability_SHW = np.zeros(SHAPE, np.float32)
    probability_SHW[0] = 1
    save_prediction(tmp_path, tiff_volume(), probability_SHW, probability_SHW.astype(np.uint8))
    np.testing.assert_array_equal(load_probability(tmp_path, "TCGA_CS_1"), probability_SHW)


@pytest.mark.parametrize(("load", "place"), [(load_mask, mask_path), (load_probability, probability_path)])
def test_missing_and_damaged_files_are_told(tmp_path, load, place):
    with pytest.raises(UserError, match="run the evaluation again"):
        load(tmp_path, "TCGA_CS_1")
    save_prediction(tmp_path, tiff_volume(), *answer())
    path = place(tmp_path, "TCGA_CS_1")
    for content in (path.read_bytes()[:-30], b"PK\x03\x04 damaged", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{path.name}.*run the evaluation again"):
            load(tmp_path, "TCGA_CS_1")


def test_other_contents_are_refused(tmp_path):
    path = mask_path(tmp_path, "a")
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 7, np.uint8), np.eye(4)), path)
    with pytest.raises(UserError, match="not a mask"):
        load_mask(tmp_path, "a")
    path = probability_path(tmp_path, "a")
    path.parent.mkdir()
    np.savez(path, probability_SHW=np.zeros((2, 2), np.float64))
    with pytest.raises(UserError, match="expected uint8"):
        load_probability(tmp_path, "a")


def test_shapes_must_fit(tmp_path):
    probability_SHW, mask_SHW = answer()
    with pytest.raises(ValueError, match="shapes"):
        save_prediction(tmp_path, tiff_volume(), probability_SHW, mask_SHW[1:])
    assert not list(tmp_path.iterdir())


def test_predictions_of_an_earlier_evaluation_are_removed(tmp_path):
    save_prediction(tmp_path, tiff_volume(), *answer())
    (tmp_path / "metrics.json").write_text("{}")
    clear_predictions(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    clear_predictions(tmp_path)


def test_any_damage_to_stored_probabilities_is_noticed(tmp_path):
    probability_SHW, mask_SHW = answer()
    save_prediction(tmp_path, tiff_volume(), probability_SHW, mask_SHW)
    path = probability_path(tmp_path, "TCGA_CS_1")
    content, whole = path.read_bytes(), load_probability(tmp_path, "TCGA_CS_1")
    for place in range(len(content)):
        for bit in (0, 4, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with contextlib.suppress(UserError):  # else what is read is what was written
                np.testing.assert_array_equal(load_probability(tmp_path, "TCGA_CS_1"), whole)
