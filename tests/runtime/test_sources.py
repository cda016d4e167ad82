from pathlib import Path

import pytest

from wcr_med.runtime import Found, find_sources


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def shown(found: Found) -> list[tuple[str, str, tuple[str, ...]]]:
    assert found.failures == ()
    return [(source.name, source.kind, tuple(path.name for path in source.files)) for source in found.sources]


def test_a_patient_and_a_folder_of_patients(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "kaggle_3m",
        "TCGA_CS_1_19990101/TCGA_CS_1_19990101_1.tif",
        "TCGA_CS_1_19990101/TCGA_CS_1_19990101_1_mask.tif",
        "TCGA_DU_2_19990101/TCGA_DU_2_19990101_1.tif",
        "data.csv",
        ".hidden/x_1.tif",
    )
    expected = [("TCGA_CS_1_19990101", "kaggle_3m", ()), ("TCGA_DU_2_19990101", "kaggle_3m", ())]
    assert shown(find_sources([root])) == expected
    assert shown(find_sources([root / "TCGA_DU_2_19990101"])) == expected[1:]
    assert shown(find_sources([root, root / "TCGA_DU_2_19990101"])) == expected  # the same volume once


def test_a_folder_of_slices_in_natural_order_without_masks(tmp_path: Path) -> None:
    folder = touch(tmp_path / "brain", "s10.png", "s2.png", "s1.PNG", "s2_mask.png", ".s3.png", "notes.txt")
    assert shown(find_sources([folder])) == [("brain", "images", ("s1.PNG", "s2.png", "s10.png"))]


def test_slices_by_name_form_a_volume_for_each_folder(tmp_path: Path) -> None:
    touch(tmp_path, "one/b.png", "one/a.png", "two/c.tiff")
    files = [tmp_path / name for name in ("one/b.png", "two/c.tiff", "one/a.png")]
    assert shown(find_sources(files)) == [("one", "images", ("b.png", "a.png")), ("c", "images", ("c.tiff",))]


def test_nifti_by_channel(tmp_path: Path) -> None:
    names = ("p1_t1.nii.gz", "p1_flair.nii.gz", "p1_t1ce.nii.gz", "p1_seg.nii.gz")
    folder = touch(tmp_path / "p1", *names)
    expected = ("p1_t1.nii.gz", "p1_flair.nii.gz", "p1_t1ce.nii.gz")
    assert shown(find_sources([folder])) == [("p1", "nifti", expected)]
    assert shown(find_sources([tmp_path])) == [("p1", "nifti", expected)]
    found = find_sources([folder], channel_files=["*_flair.nii.gz"])
    assert shown(found) == [("p1", "nifti", ("p1_flair.nii.gz",))]


def test_nifti_volumes(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a.nii.gz", "b.nii")
    expected = [("a", "nifti", ("a.nii.gz",)), ("b", "nifti", ("b.nii",))]
    assert shown(find_sources([folder])) == expected
    assert shown(find_sources([folder / "b.nii"])) == expected[1:]


@pytest.mark.parametrize(
    ("names", "target", "message"),
    [
        (("empty/notes.txt",), "empty", "holds no TIFF, PNG, NIfTI or DICOM"),
        (("x.txt",), "x.txt", "not an image"),
        ((), "gone", "no such file or folder"),
        ((), "gone.png", "no such file or folder"),
        (("p/a_t1.nii.gz", "p/a_flair.nii.gz"), "p", "0 files match \\*_t1ce"),
        (("p/a_t1.nii.gz", "p/b_t1.nii.gz"), "p", "2 files match \\*_t1.nii"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, names: tuple[str, ...], target: str, message: str) -> None:
    touch(tmp_path, *names)
    good = touch(tmp_path / "good", "s1.png")
    found = find_sources([tmp_path / target, good])
    assert [source.name for source in found.sources] == ["good"]
    (failure,) = found.failures
    assert failure.name == target
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failure.message)


def test_with_one_pattern_each_file_that_it_matches_is_a_volume(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_img.nii.gz", "b_img.nii.gz", "b_seg.nii.gz")
    found = find_sources([folder], channel_files=["*_img.nii.gz"])
    assert shown(found) == [("a_img", "nifti", ("a_img.nii.gz",)), ("b_img", "nifti", ("b_img.nii.gz",))]


def test_two_volumes_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "x/case/s.png", "y/case/s.png")
    found = find_sources([tmp_path / "x" / "case", tmp_path / "y" / "case"])
    assert [source.folder for source in found.sources] == [tmp_path / "x" / "case"]
    assert "also comes from" in found.failures[0].message
