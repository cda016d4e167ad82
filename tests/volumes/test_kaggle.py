"""The kaggle_3m layout: numeric order, pairs, and every way in which a folder can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.kaggle import (
    list_slices,
    patient_and_institution,
    read_kaggle_patient,
    scan_folder,
    slice_number,
)

NAME = "TCGA_CS_4942_19970222"


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """Twelve slices of 6x8; slice k holds the value k and a lesion of k pixels."""
    folder = tmp_path / NAME
    folder.mkdir()
    for number in range(1, 13):
        mask_HW = np.zeros((6, 8), dtype=np.uint8)
        mask_HW.flat[:number] = 255
        save(folder / f"{NAME}_{number}.tif", np.full((6, 8, 3), number, dtype=np.uint8))
        save(folder / f"{NAME}_{number}_mask.tif", mask_HW)
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def code_of(folder: Path, *, with_mask: bool = True) -> str:
    with pytest.raises(FileError) as caught:
        read_kaggle_patient(folder, with_mask=with_mask)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)
    assert str(caught.value).startswith(str(caught.value.path))
    return caught.value.code


def test_slices_are_sorted_as_numbers(patient: Path) -> None:
    volume = read_kaggle_patient(patient, with_mask=True)
    assert volume.image_SHWC.shape == (12, 6, 8, 3)
    assert volume.image_SHWC[:, 0, 0, 0].tolist() == list(range(1, 13))
    assert volume.mask_SHW is not None
    assert volume.mask_SHW.dtype == np.uint8
    assert volume.mask_SHW.sum(axis=(1, 2)).tolist() == list(range(1, 13))
    assert volume.names == tuple(f"{NAME}_{number}" for number in range(1, 13))
    assert volume.patient_id == "TCGA_CS_4942"
    assert volume.spacing_mm is None


def test_masks_are_left_alone_when_not_wanted(patient: Path) -> None:
    (patient / f"{NAME}_3_mask.tif").unlink()
    (patient / f"{NAME}_4_mask.tif").write_bytes(b"broken")
    assert read_kaggle_patient(patient, with_mask=False).mask_SHW is None
    assert code_of(patient) == "missing-mask"


def test_a_relative_folder_has_a_name(patient: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(patient)
    assert read_kaggle_patient(Path(), with_mask=False).patient_id == "TCGA_CS_4942"


def test_other_files_do_not_matter(patient: Path) -> None:
    (patient / ".DS_Store").write_bytes(b"x")
    (patient / f"._{NAME}_1.tif").write_bytes(b"x")
    (patient / "notes.txt").write_text("x", encoding="utf-8")
    (patient / f"{NAME}_1.tif").rename(patient / f"{NAME}_1.TIFF")
    assert len(list_slices(patient)) == 12


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TCGA_CS_4942_19970222_12.tif", 12),
        ("TCGA_CS_4942_19970222_2_mask.tif", 2),
        ("a_007.TIFF", 7),
        ("a_1_0.tif", 0),
    ],
)
def test_slice_number(name: str, number: int) -> None:
    assert slice_number(Path("folder_5") / name) == number


@pytest.mark.parametrize("name", ["a.tif", "a_.tif", "a_b.tif", "a_1.png", "_1.tif", "a_1_mask_2x.tif", "a_\u0663.tif"])
def test_names_without_slice_number(name: str) -> None:
    with pytest.raises(FileError, match="slice number"):
        slice_number(Path(name))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("TCGA_CS_4942_19970222", ("TCGA_CS_4942", "CS")),
        ("TCGA_DU_A5TR_19970726", ("TCGA_DU_A5TR", "DU")),
        ("TCGA_HT_7473", ("TCGA_HT_7473", "HT")),
        ("patient 7", ("patient 7", "unknown")),
        ("TCGA_CS_4942_1997", ("TCGA_CS_4942_1997", "unknown")),
    ],
)
def test_patient_and_institution(folder: str, expected: tuple[str, str]) -> None:
    assert patient_and_institution(folder) == expected


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "missing-file"
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty") == "no-slices"
    (tmp_path / "file").write_bytes(b"")
    assert code_of(tmp_path / "file") == "unreadable"


def test_one_corrupt_tiff(patient: Path) -> None:
    broken = patient / f"{NAME}_7.tif"
    broken.write_bytes(broken.read_bytes()[:60])
    assert code_of(patient) == "unreadable"


def test_a_mask_of_another_size(patient: Path) -> None:
    save(patient / f"{NAME}_7_mask.tif", np.zeros((6, 9), dtype=np.uint8))
    assert code_of(patient) == "wrong-shape"
    assert read_kaggle_patient(patient, with_mask=False).image_SHWC.shape[0] == 12


def test_an_image_of_another_size(patient: Path) -> None:
    save(patient / f"{NAME}_7.tif", np.zeros((8, 6, 3), dtype=np.uint8))
    assert code_of(patient, with_mask=False) == "wrong-shape"


@pytest.mark.parametrize("top", [1, 3])
def test_masks_of_class_numbers(patient: Path, top: int) -> None:
    save(patient / f"{NAME}_7_mask.tif", (np.arange(48) % (top + 1)).reshape(6, 8).astype(np.uint8))
    assert code_of(patient) == "mask-values"


def test_a_float_image(patient: Path) -> None:
    save(patient / f"{NAME}_7.tif", np.zeros((6, 8), dtype=np.float32))
    assert code_of(patient) == "wrong-type"


def test_a_mask_without_image(patient: Path) -> None:
    (patient / f"{NAME}_7.tif").unlink()
    assert code_of(patient) == "missing-image"


def test_two_files_for_one_slice(patient: Path) -> None:
    save(patient / f"{NAME}_07.tif", np.zeros((6, 8, 3), dtype=np.uint8))
    assert code_of(patient) == "repeated-slice"


def test_a_slice_of_somebody_else(patient: Path) -> None:
    save(patient / "TCGA_DU_5849_19950405_13.tif", np.zeros((6, 8, 3), dtype=np.uint8))
    assert code_of(patient) == "mixed-series"


def test_a_scan_collects_every_fault(patient: Path) -> None:
    (patient / f"{NAME}_7.tif").unlink()
    save(patient / f"{NAME}_08.tif", np.zeros((6, 8, 3), dtype=np.uint8))
    save(patient / "unnumbered.tif", np.zeros((6, 8, 3), dtype=np.uint8))
    scan = scan_folder(patient)
    assert sorted(fault.code for fault in scan.faults) == ["bad-name", "missing-image", "repeated-slice"]
    assert list(scan.slices) == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


GOOD = {
    "patient_id": "p",
    "image_SHWC": np.zeros((2, 3, 4, 1)),
    "mask_SHW": np.zeros((2, 3, 4), dtype=np.uint8),
    "spacing_mm": (1.0, 1.0, 1.0),
    "names": ("0", "1"),
    "nifti": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"image_SHWC": np.zeros((2, 3, 4))},
        {"image_SHWC": np.zeros((0, 3, 4, 1)), "names": ()},
        {"names": ("0",)},
        {"spacing_mm": (1.0, 0.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"), 1.0)},
        {"mask_SHW": np.zeros((2, 4, 3), dtype=np.uint8)},
        {"mask_SHW": np.full((2, 3, 4), 255, dtype=np.uint8)},
        {"mask_SHW": np.zeros((2, 3, 4), dtype=bool)},
    ],
)
def test_an_invalid_volume_cannot_be_built(change: dict[str, object]) -> None:
    Volume(**GOOD)
    with pytest.raises(ValueError, match=r"shape|names|spacing|values"):
        Volume(**{**GOOD, **change})


@pytest.mark.lgg
def test_every_real_patient_is_read(lgg_root: Path) -> None:
    folders = sorted(path for path in lgg_root.iterdir() if path.is_dir())[:3]
    for folder in folders:
        volume = read_kaggle_patient(folder, with_mask=True)
        assert volume.image_SHWC.shape[1:] == (256, 256, 3)
        assert volume.mask_SHW is not None
        assert volume.mask_SHW.any()
        numbers = [int(name.rsplit("_", 1)[1]) for name in volume.names]
        assert numbers == list(range(1, len(numbers) + 1))
