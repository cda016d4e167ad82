import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from tests.volumes.dicom_files import AXIAL, CORONAL, change, write_series
from wcr_med.volumes import FileError
from wcr_med.volumes.choice import choose_channels
from wcr_med.volumes.dicom import read_dicom
from wcr_med.volumes.nifti import read_nifti, write_nifti

IMAGE_SHW = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)


def read(folder, *assignments, names=("FLAIR",), n=None):
    channels = choose_channels(names, n or len(names), assignments)
    return read_dicom(sorted(folder.rglob("*.dcm")), patient_id="p", channels=channels)


def test_slices_are_sorted_by_position_not_by_name(tmp_path):
    write_series(tmp_path, IMAGE_SHW)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image_SHWC[..., 0], IMAGE_SHW)
    assert volume.image_SHWC.dtype == np.uint16
    assert volume.spacing_mm == pytest.approx((3.0, 0.5, 0.75))
    assert volume.names == ("0", "1", "2", "3", "4")


def test_place_in_space_is_that_of_the_headers(tmp_path):
    write_series(tmp_path, IMAGE_SHW)
    affine_44 = read(tmp_path).nifti.affine_44
    # The first voxel, and one column, row and slice further; LPS of DICOM is RAS of NIfTI with two signs changed.
    np.testing.assert_allclose(affine_44 @ [0, 0, 0, 1], [10, 20, 30, 1])
    np.testing.assert_allclose(affine_44 @ [1, 1, 1, 1], [10 - 0.75, 20 - 0.5, 33, 1])


def test_a_series_from_head_to_foot_is_turned(tmp_path):
    write_series(tmp_path, IMAGE_SHW, orientation=(1.0, 0, 0, 0, -1.0, 0), origin=(0, 0, 0))
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image_SHWC[..., 0], IMAGE_SHW[::-1, ::-1])


def test_a_coronal_series_is_shown_in_axial_slices(tmp_path):
    write_series(tmp_path, IMAGE_SHW, orientation=CORONAL, origin=(0, 0, 0))
    volume = read(tmp_path)
    # Rows run from head to foot, so they become slices, turned; slices run from front to back, so they become rows.
    np.testing.assert_array_equal(volume.image_SHWC[..., 0], np.swapaxes(IMAGE_SHW, 0, 1)[::-1])
    assert volume.spacing_mm == pytest.approx((0.5, 3.0, 0.75))


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)])
def test_a_result_written_as_nifti_agrees_with_nibabel_and_comes_back(tmp_path, orientation):
    write_series(tmp_path, IMAGE_SHW, orientation=orientation)
    volume = read(tmp_path)
    path = tmp_path / "result.nii.gz"
    write_nifti(volume, (volume.image_SHWC[..., 0] % 2).astype(np.uint8), path)
    np.testing.assert_allclose(nib.load(path).affine, volume.nifti.affine_44, atol=1e-4)
    again = read_nifti([path], None, patient_id="p")
    np.testing.assert_array_equal(again.image_SHWC[..., 0], volume.image_SHWC[..., 0] % 2)


def test_rescaled_values_are_float(tmp_path):
    write_series(tmp_path, IMAGE_SHW, RescaleSlope="0.5", RescaleIntercept="-3")
    volume = read(tmp_path)
    assert volume.image_SHWC.dtype == np.float32
    np.testing.assert_allclose(volume.image_SHWC[..., 0], 0.5 * IMAGE_SHW - 3)


def test_a_single_slice_takes_its_thickness(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW[:1])
    assert read(tmp_path).spacing_mm == pytest.approx((3.0, 0.5, 0.75))
    change(paths[0], SliceThickness=None)
    with pytest.raises(FileError, match="a single slice without SliceThickness"):
        read(tmp_path)


def test_rounded_positions_are_no_gap(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW)
    change(paths[2], ImagePositionPatient=[-10.0, -20.0, 36.05])
    assert read(tmp_path).spacing_mm == pytest.approx((3.0, 0.5, 0.75))


def test_a_missing_slice_is_refused(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW)
    paths[2].unlink()
    with pytest.raises(FileError, match=r"1-002\.dcm: lies 6 mm after 1-004\.dcm, other slices 3 mm apart"):
        read(tmp_path)


def test_a_slice_twice_is_refused(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW)
    change(paths[2], ImagePositionPatient=[-10.0, -20.0, 33.0])
    with pytest.raises(FileError) as error:
        read(tmp_path)
    assert error.value.code == "repeated-slice"


def test_sheared_slices_are_refused(tmp_path):
    for place, path in enumerate(write_series(tmp_path, IMAGE_SHW)):
        change(path, ImagePositionPatient=[-10.0, -20.0 + place, 30.0 + 3 * place])
    with pytest.raises(FileError, match="beside the line of the other slices"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"ImageOrientationPatient": list(CORONAL)}, "bad-geometry", "of another orientation than"),
        ({"ImageOrientationPatient": [1.0, 0, 0, 0.5, 0.5, 0]}, "bad-geometry", "right angles"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "wrong-type", "RGB pixels"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "wrong-type", "MONOCHROME1 pixels"),
        ({"NumberOfFrames": 2}, "wrong-type", "not a single-frame MR image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "wrong-type", "not a single-frame MR image"),
        ({"StudyInstanceUID": "1.2.3"}, "mixed-series", "of another study"),
        ({"FrameOfReferenceUID": "1.2.3"}, "mixed-series", "frame of reference"),
        ({"PixelSpacing": [0.5, 0.5]}, "wrong-shape", "of another grid"),
        ({"PixelSpacing": [0.0, 0.5]}, "bad-geometry", "PixelSpacing is 0 and 0.5 mm, expected positive"),
        ({"ImagePositionPatient": None}, "bad-geometry", "holds no ImagePositionPatient"),
        ({"PixelData": b"\0" * 4}, "unreadable", "its pixels cannot be read"),
    ],
)
def test_what_is_refused(tmp_path, changes, code, words):
    paths = write_series(tmp_path, IMAGE_SHW)
    change(paths[1], **changes)
    with pytest.raises(FileError, match=words) as error:
        read(tmp_path)
    assert error.value.code == code


def test_pixels_without_size_are_refused(tmp_path):
    write_series(tmp_path, IMAGE_SHW, PixelSpacing=[0.0, 0.5])
    with pytest.raises(FileError, match="expected positive"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("options", "code"), [({"origin": (-10.0, -20.0, 31.0)}, "bad-geometry"), ({"step_mm": 2.0}, "bad-geometry")]
)
def test_series_on_other_grids_are_refused(tmp_path, options, code):
    write_series(tmp_path, IMAGE_SHW, number=1)
    write_series(tmp_path, IMAGE_SHW, number=2, description="T1", **options)
    with pytest.raises(FileError, match=r"series 2 T1 lies .* away from 1 FLAIR") as error:
        read(tmp_path, names=("FLAIR", "T1"))
    assert error.value.code == code


def test_series_of_other_lengths_are_refused(tmp_path):
    write_series(tmp_path, IMAGE_SHW, number=1)
    write_series(tmp_path, IMAGE_SHW[:3], number=2, description="T1")
    with pytest.raises(FileError, match="7x6x3 and 7x6x5 voxels"):
        read(tmp_path, names=("FLAIR", "T1"))


def test_a_file_that_is_no_dicom(tmp_path):
    (tmp_path / "a.dcm").write_text("nothing")
    with pytest.raises(FileError) as error:
        read(tmp_path)
    assert error.value.code == "unreadable"


def test_nothing_to_read():
    with pytest.raises(ValueError, match="at least one file"):
        read_dicom([], patient_id="p", channels=choose_channels(None, 1))
