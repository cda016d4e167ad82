"""Index of patients: ids and institutions, NIfTI patterns, and one line for every folder that does not fit."""

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wcr_med.config import DataConfig, NiftiConfig
from wcr_med.data.index import index_patients, load_volume
from wcr_med.errors import UserError


def add_patient(root: Path, name: str, n_slices: int = 3) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for number in range(1, n_slices + 1):
        Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(folder / f"{name}_{number}.tif")
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(folder / f"{name}_{number}_mask.tif")
    return folder


def add_nifti(root: Path, name: str, *, suffixes: tuple[str, ...] = ("t1", "flair", "t1ce", "seg")) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for shift, suffix in enumerate(suffixes):
        shown = values % 2 if suffix == "seg" else values + shift
        nib.save(nib.Nifti1Image(shown.astype(np.int16), np.diag([1.0, 2, 3, 1])), folder / f"{name}_{suffix}.nii.gz")
    return folder


def nifti(root: Path, **nifti_fields: object) -> DataConfig:
    return DataConfig(root=root, format="nifti", nifti=NiftiConfig(**nifti_fields))


def message_of(config: DataConfig) -> str:
    with pytest.raises(UserError) as caught:
        index_patients(config)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


def test_patients_are_sorted_by_id_and_name_their_institution(tmp_path: Path) -> None:
    for name in ("TCGA_HT_7473_19970826", "TCGA_CS_4942_19970222", "somebody"):
        add_patient(tmp_path, name)
    (tmp_path / "data.csv").write_text("Patient\n", encoding="utf-8")
    (tmp_path / ".hidden").mkdir()
    entries = index_patients(DataConfig(root=tmp_path))
    assert [(entry.patient_id, entry.institution) for entry in entries] == [
        ("TCGA_CS_4942", "CS"),
        ("TCGA_HT_7473", "HT"),
        ("somebody", "unknown"),
    ]
    assert all(entry.format == "kaggle_3m" and len(entry.files) == 6 for entry in entries)
    assert all(list(entry.files) == sorted(entry.files) for entry in entries)
    assert pickle.loads(pickle.dumps(entries)) == entries


def test_a_volume_belongs_to_its_entry(tmp_path: Path) -> None:
    add_patient(tmp_path, "TCGA_CS_4942_19970222", n_slices=11)
    (entry,) = index_patients(DataConfig(root=tmp_path))
    volume = load_volume(entry)
    assert volume.patient_id == entry.patient_id
    assert volume.image_SHWC[:, 0, 0, 0].tolist() == list(range(1, 12))
    assert volume.mask_SHW is not None
    assert load_volume(entry, with_mask=False).mask_SHW is None


def test_the_phantom_is_indexed(phantom_root: Path) -> None:
    entries = index_patients(DataConfig(root=phantom_root))
    assert len(entries) == 12
    assert all(entry.institution in {"CS", "DU", "FG", "HT"} for entry in entries)
    volume = load_volume(entries[0])
    assert volume.image_SHWC.shape[1:] == (64, 64, 3)
    assert len(entries[0].files) == 2 * volume.image_SHWC.shape[0]


def test_missing_and_empty_roots(tmp_path: Path) -> None:
    assert "data.root" in message_of(DataConfig(root=tmp_path / "absent"))
    assert "holds no patient folders" in message_of(DataConfig(root=tmp_path))
    (tmp_path / "file").write_bytes(b"")
    assert "not a folder" in message_of(DataConfig(root=tmp_path / "file"))


def test_a_root_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    assert "Permission denied" in message_of(DataConfig(root=tmp_path))


def test_a_patient_id_twice(tmp_path: Path) -> None:
    add_patient(tmp_path, "TCGA_DU_1234_19970826")
    add_patient(tmp_path, "TCGA_DU_1234_20010101")
    message = message_of(DataConfig(root=tmp_path))
    assert "TCGA_DU_1234" in message
    assert "TCGA_DU_1234_19970826" in message
    assert "TCGA_DU_1234_20010101" in message


def test_a_root_one_level_too_high_or_too_low(tmp_path: Path) -> None:
    folder = add_patient(tmp_path / "kaggle_3m", "TCGA_DU_1234_19970826")
    assert f"set data.root to {tmp_path / 'kaggle_3m'}" in message_of(DataConfig(root=tmp_path))
    assert "folder above" in message_of(DataConfig(root=folder))
    (folder / "more").mkdir()
    assert "folder above" in message_of(DataConfig(root=folder))


def test_a_patient_folder_without_slices(tmp_path: Path) -> None:
    add_patient(tmp_path, "TCGA_DU_1234_19970826")
    (tmp_path / "TCGA_DU_9999_19970826").mkdir()
    assert "TCGA_DU_9999_19970826: holds no slices" in message_of(DataConfig(root=tmp_path))


def test_nifti_patients(tmp_path: Path) -> None:
    add_nifti(tmp_path, "b")
    add_nifti(tmp_path, "TCGA_HT_7473")
    first, second = index_patients(nifti(tmp_path))
    assert (first.patient_id, first.institution) == ("TCGA_HT_7473", "HT")
    assert [path.name for path in second.channels] == ["b_t1.nii.gz", "b_flair.nii.gz", "b_t1ce.nii.gz"]
    assert second.label is not None
    assert second.label.name == "b_seg.nii.gz"
    assert len(second.files) == 4
    volume = load_volume(second)
    assert volume.patient_id == "b"
    assert volume.image_SHWC.shape == (4, 3, 2, 3)
    assert volume.spacing_mm == (3.0, 2.0, 1.0)
    assert volume.mask_SHW is not None
    np.testing.assert_array_equal(volume.mask_SHW, volume.image_SHWC[..., 0] % 2)


def test_nifti_without_label_serves_inference_alone(tmp_path: Path) -> None:
    folder = add_nifti(tmp_path, "b", suffixes=("t1", "flair", "t1ce"))
    (entry,) = index_patients(nifti(tmp_path))
    assert entry.label is None
    assert load_volume(entry, with_mask=False).mask_SHW is None
    with pytest.raises(UserError, match=r"no label file; .*data\.nifti\.label") as caught:
        load_volume(entry)
    assert str(folder) in str(caught.value)


def test_nifti_patterns_that_match_nothing_or_too_much(tmp_path: Path) -> None:
    folder = add_nifti(tmp_path, "b")
    assert "*_t2.nii.gz" in message_of(nifti(tmp_path, channels=("*_t2.nii.gz",)))
    assert "both match" in message_of(nifti(tmp_path, channels=("*_t1*.nii.gz",)))
    assert "both match" in message_of(nifti(tmp_path, label="*.nii.gz"))
    assert "two patterns" in message_of(nifti(tmp_path, channels={"t1": "*_t1.nii.gz", "b": "b_t1.nii.gz"}))
    assert "data.nifti.channels" in message_of(nifti(tmp_path, channels={"t1": ""}))
    assert "data.nifti.label" in message_of(nifti(tmp_path, label="/abs/*.nii.gz"))
    (folder / "._b_t1.nii.gz").write_bytes(b"")
    assert len(index_patients(nifti(tmp_path))) == 1


@pytest.mark.lgg
def test_real_patients(lgg_root: Path) -> None:
    entries = index_patients(DataConfig(root=lgg_root))
    assert len(entries) >= 10
    assert len({entry.patient_id for entry in entries}) == len(entries)
    assert {entry.institution for entry in entries} <= {"CS", "DU", "EZ", "FG", "HT"}


def test_declared_spacing_reaches_the_volume(tmp_path: Path) -> None:
    folder = add_patient(tmp_path, "TCGA_CS_4942_19970222")
    assert load_volume(index_patients(DataConfig(root=tmp_path))[0]).spacing_mm is None
    (entry,) = index_patients(DataConfig(root=tmp_path, spacing_mm=(6.0, 0.5, 2.0)))
    volume = load_volume(entry)
    assert entry.folder == folder
    assert volume.spacing_mm == (6.0, 0.5, 2.0)
    assert load_volume(entry, with_mask=False).spacing_mm == (6.0, 0.5, 2.0)


def test_spacing_of_nifti_is_in_its_files_and_cannot_be_declared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold their own spacing: set it to null"):
        DataConfig(root=tmp_path, format="nifti", spacing_mm=(1.0, 1.0, 1.0))
