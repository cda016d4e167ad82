"""Trees, patterns and names given by a shell."""

import os
from pathlib import Path

import pytest

from tests.runtime.test_sources import shown, touch
from wcr_med.runtime import find_sources

NAMES = ("p_t1.nii.gz", "p_flair.nii.gz", "p_t1ce.nii.gz")


def test_a_tree_of_any_depth_is_named_by_its_paths(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "data",
        "site_a/p1/s1.png", "site_a/p10/s1.png", "site_a/p2/s1.png",
        "site_b/2024/p1/x.nii.gz", "site_b/2024/p1/y.nii",
        *(f"site_b/q/{name}" for name in NAMES),
        "top.nii.gz", ".hidden/p/s1.png", "notes.txt",
    )  # fmt: skip
    found = [(name, kind) for name, kind, _ in shown(find_sources([root]))]
    assert found == [
        ("top", "nifti"),
        ("site_a/p1", "images"), ("site_a/p2", "images"), ("site_a/p10", "images"),
        ("site_b/2024/p1/x", "nifti"), ("site_b/2024/p1/y", "nifti"),
        ("site_b/q", "nifti"),
    ]  # fmt: skip


def test_one_bad_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x_t1.nii.gz", "b/s1.png")
    found = find_sources([root])
    assert [source.name for source in found.sources] == ["b"]
    assert [failure.name for failure in found.failures] == ["a"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "real", "s1.png")
    root = touch(tmp_path / "data", "p/s1.png")
    (root / "linked").symlink_to(tmp_path / "real")
    (root / "p" / "back").symlink_to(root)
    assert [name for name, *_ in shown(find_sources([root]))] == ["linked", "p"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/s1.png", "b/s1.png")
    (root / "a").chmod(0)
    found = find_sources([root])
    (root / "a").chmod(0o755)
    assert [source.name for source in found.sources] == ["b"]
    assert "cannot be listed" in found.failures[0].message


def test_a_pattern_of_nifti_files(tmp_path: Path) -> None:
    touch(tmp_path, "data/p1/scan.nii.gz", "data/p2/scan.nii.gz", "data/p10/scan.nii.gz", "data/p1/scan.txt")
    found = shown(find_sources([tmp_path / "data" / "*" / "scan*"]))
    assert found == [(f"{name}/scan", "nifti", ("scan.nii.gz",)) for name in ("p1", "p2", "p10")]


def test_a_pattern_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, "data/TCGA_1/TCGA_1_1.tif", "data/TCGA_2/TCGA_2_1.tif", "data/other/x.png", "data/TCGA.csv")
    found = shown(find_sources([tmp_path / "data" / "TCGA*"]))
    assert found == [("TCGA_1", "kaggle_3m", ()), ("TCGA_2", "kaggle_3m", ())]


def test_a_pattern_of_slices_groups_them_and_leaves_masks_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"data/{p}/s_{k}{end}.tif" for p in ("a", "b") for k in (1, 2, 10) for end in ("", "_mask")))
    expected = ("s_1.tif", "s_2.tif", "s_10.tif")
    assert shown(find_sources([tmp_path / "data" / "**" / "*.tif"])) == [
        ("a", "images", expected),
        ("b", "images", expected),
    ]


def test_any_number_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, "data/x/y/a.nii.gz", "data/b.nii.gz")
    found = shown(find_sources([tmp_path / "data" / "**" / "*.nii.gz"]))
    assert [name for name, *_ in found] == ["b", "x/y/a"]
    everything = shown(find_sources([tmp_path / "data" / "**"]))
    assert [name for name, *_ in everything] == ["b", "x/y/a"]


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    (failure,) = find_sources([tmp_path / "*.nii.gz"]).failures
    assert "no image or folder matches" in failure.message


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "scan[1].nii.gz", "scan1.nii.gz")
    assert shown(find_sources([tmp_path / "scan[1].nii.gz"])) == [("scan[1]", "nifti", ("scan[1].nii.gz",))]


@pytest.mark.parametrize("how", ["pattern", "names"])
def test_files_by_channel_are_one_volume(tmp_path: Path, how: str) -> None:
    folder = touch(tmp_path / "data" / "p", *NAMES, "p_seg.nii.gz")
    inputs = [tmp_path / "data" / "*" / "p_*.nii.gz"] if how == "pattern" else [folder / name for name in NAMES]
    assert shown(find_sources(inputs)) == [("p", "nifti", NAMES)]


def test_masks_that_a_shell_gives_with_their_slices(tmp_path: Path) -> None:
    folder = touch(tmp_path / "p", "s_1.tif", "s_1_mask.tif", "s_2.tif", "s_2_mask.tif")
    found = find_sources(sorted(folder.iterdir()))
    assert shown(found) == [("p", "images", ("s_1.tif", "s_2.tif"))]
    assert shown(find_sources([folder / "s_1_mask.tif"])) == [("s_1_mask", "images", ("s_1_mask.tif",))]


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    path = touch(tmp_path / "p", "a.png") / "a.png"
    assert shown(find_sources([path, path])) == [("a", "images", ("a.png",))]


def test_dicom_files_of_a_pattern_are_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "data/s1/1.dcm", "data/s1/2.dcm")
    assert shown(find_sources([tmp_path / "data" / "*" / "*.dcm"])) == [("s1", "dicom", ("1.dcm", "2.dcm"))]
