"""The audit finds every fault that was put there, none that was not, and goes on after each."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wcr_med.config import DataConfig
from wcr_med.data.audit import AuditReport, Finding, audit
from wcr_med.errors import UserError

N_SLICES, SIDE = 6, 8


def add_patient(root: Path, name: str, *, seed: int, tumour: bool = True) -> Path:
    rng = np.random.default_rng(seed)
    folder = root / name
    folder.mkdir(parents=True)
    for number in range(1, N_SLICES + 1):
        mask_HW = np.zeros((SIDE, SIDE), dtype=np.uint8)
        if tumour and 2 <= number <= 4:
            mask_HW[:2, :number] = 255
        save(folder / f"{name}_{number}.tif", rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        save(folder / f"{name}_{number}_mask.tif", mask_HW)
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three sound patients of random slices."""
    for seed, name in enumerate(("TCGA_CS_0001_20000101", "TCGA_DU_0002_20000101", "TCGA_DU_0003_20000101")):
        add_patient(tmp_path, name, seed=seed)
    return tmp_path


def check(root: Path) -> AuditReport:
    return audit(DataConfig(root=root), progress=False)


def only(report: AuditReport) -> Finding:
    assert len(report.findings) == 1, report.table()
    finding = report.findings[0]
    assert "\n" not in finding.message
    return finding


def files(root: Path, patient: str) -> list[Path]:
    return sorted((root / patient).iterdir())


def test_a_sound_data_set(root: Path) -> None:
    (root / "data.csv").write_text("Patient\n", encoding="utf-8")
    report = check(root)
    assert report.ok
    assert report.findings == ()
    assert [patient.patient_id for patient in report.patients] == ["TCGA_CS_0001", "TCGA_DU_0002", "TCGA_DU_0003"]
    first = report.patients[0]
    assert (first.n_slices, first.n_tumour_slices, first.n_tumour_voxels) == (N_SLICES, 3, 2 * (2 + 3 + 4))
    assert (first.rows, first.columns, first.channels) == (SIDE, SIDE, 3)
    assert (first.institution, first.folder) == ("CS", "TCGA_CS_0001_20000101")


def test_the_report_as_json_and_text(root: Path) -> None:
    (root / "TCGA_DU_0002_20000101" / "TCGA_DU_0002_20000101_3.tif").write_bytes(b"broken")
    report = check(root)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["ok"] is False
    assert (document["n_patients"], document["n_slices"], document["n_tumour_slices"]) == (3, 17, 8)
    assert (document["n_errors"], document["n_warnings"], document["n_notes"]) == (1, 0, 0)
    assert document["institutions"] == {"CS": 1, "DU": 2}
    assert document["findings"][0]["file"] == "TCGA_DU_0002_20000101/TCGA_DU_0002_20000101_3.tif"
    assert str(root) not in json.dumps(document)
    table = report.table()
    assert "TCGA_DU_0002_20000101/TCGA_DU_0002_20000101_3.tif" in table
    assert table.splitlines()[-1].endswith("1 errors, 0 warnings, 0 notes")
    assert "8x8x3" in table


def test_the_text_stays_short_where_all_is_broken(root: Path) -> None:
    for number in range(3):
        add_patient(root, f"TCGA_HT_001{number}_20000101", seed=10 + number)
    for path in root.glob("*/*.tif"):
        path.write_bytes(b"")
    report = check(root)
    assert len(report.findings) == 6 * N_SLICES * 2
    assert not report.ok
    assert f"... and {len(report.findings) - 60} more" in report.table()
    assert all(patient.n_slices == 0 for patient in report.patients)


@pytest.mark.parametrize(
    ("file", "pixels", "code"),
    [
        ("_3.tif", np.zeros((SIDE, SIDE), dtype=np.float32), "wrong-type"),
        ("_3.tif", np.zeros((SIDE, SIDE), dtype=np.uint8), "wrong-type"),
        ("_3.tif", np.zeros((SIDE, SIDE, 4), dtype=np.uint8), "wrong-type"),
        ("_3.tif", np.zeros((SIDE, SIDE + 1, 3), dtype=np.uint8), "wrong-shape"),
        ("_3_mask.tif", np.zeros((SIDE + 1, SIDE), dtype=np.uint8), "wrong-shape"),
        ("_3_mask.tif", np.eye(SIDE, dtype=np.uint8), "mask-values"),
        ("_3_mask.tif", np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 4, "mask-values"),
        ("_3_mask.tif", np.zeros((SIDE, SIDE, 3), dtype=np.uint8), "wrong-type"),
        ("_3.tiff", np.zeros((SIDE, SIDE, 3), dtype=np.uint8), "repeated-slice"),
        ("_7_mask.tif", np.zeros((SIDE, SIDE), dtype=np.uint8), "missing-image"),
        ("_x.tif", np.zeros((SIDE, SIDE), dtype=np.uint8), "bad-name"),
    ],
)
def test_one_bad_file(root: Path, file: str, pixels: np.ndarray, code: str) -> None:
    name = "TCGA_DU_0002_20000101"
    save(root / name / f"{name}{file}", pixels)
    finding = only(check(root))
    assert (finding.severity, finding.code, finding.patient_id) == ("error", code, "TCGA_DU_0002")
    assert finding.file == f"{name}/{name}{file}"
    assert ";" in finding.message, "no remedy"


def test_a_truncated_slice_and_a_missing_mask(root: Path) -> None:
    name = "TCGA_DU_0002_20000101"
    broken = root / name / f"{name}_3.tif"
    broken.write_bytes(broken.read_bytes()[:100])
    (root / name / f"{name}_5_mask.tif").unlink()
    save(root / name / f"{name}_3_mask.tif", np.eye(SIDE, dtype=np.uint8))
    assert [(finding.code, Path(finding.file).name) for finding in check(root).findings] == [
        ("unreadable", f"{name}_3.tif"),
        ("mask-values", f"{name}_3_mask.tif"),
        ("missing-mask", f"{name}_5.tif"),
    ]


def test_the_same_slice_in_two_patients(root: Path) -> None:
    first, second = "TCGA_CS_0001_20000101", "TCGA_DU_0003_20000101"
    for number in (2, 3):
        save(root / second / f"{second}_{number}.tif", load(root / first / f"{first}_{number}.tif"))
    finding = only(check(root))
    assert (finding.severity, finding.code) == ("error", "same-slice-in-two-patients")
    assert finding.file == second
    assert finding.message.startswith(f"2 slices are also in {first} ({second}_2 is {first}_2)")


def test_slices_of_one_constant_value_are_not_copies(root: Path) -> None:
    for path in root.glob("*/*_[16].tif"):
        save(path, np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    assert check(root).findings == ()


def test_the_same_slice_twice_in_one_patient(root: Path) -> None:
    name = "TCGA_CS_0001_20000101"
    save(root / name / f"{name}_5.tif", load(root / name / f"{name}_4.tif"))
    finding = only(check(root))
    assert (finding.severity, finding.code) == ("warning", "same-slice-twice")
    assert check(root).ok


def test_a_patient_in_two_folders(root: Path) -> None:
    add_patient(root, "TCGA_DU_0002_20010101", seed=9)
    finding = only(check(root))
    assert (finding.severity, finding.code, finding.file) == ("error", "patient-twice", "TCGA_DU_0002_20010101")


@pytest.mark.parametrize(
    ("source_of", "listed"),
    [({2: 1}, "FLAIR, post-contrast"), ({0: 1}, "pre-contrast, FLAIR"), ({0: 1, 2: 1}, "pre-contrast, FLAIR, post-")],
)
def test_copied_sequences(root: Path, source_of: dict[int, int], listed: str) -> None:
    for path in (root / "TCGA_CS_0001_20000101").glob("*[0-9].tif"):
        image_HWC = load(path)
        for channel, source in source_of.items():
            image_HWC[..., channel] = image_HWC[..., source]
        save(path, image_HWC)
    finding = only(check(root))
    assert (finding.severity, finding.code) == ("note", "copied-sequence")
    assert finding.message.startswith(listed)


def test_a_sequence_copied_in_some_slices_alone_is_no_copy(root: Path) -> None:
    path = root / "TCGA_CS_0001_20000101" / "TCGA_CS_0001_20000101_1.tif"
    image_HWC = load(path)
    image_HWC[..., 2] = image_HWC[..., 1]
    save(path, image_HWC)
    assert check(root).findings == ()


def test_an_empty_sequence(root: Path) -> None:
    for path in (root / "TCGA_CS_0001_20000101").glob("*[0-9].tif"):
        image_HWC = load(path)
        image_HWC[..., 0] = 0
        image_HWC[..., 2] = 0
        save(path, image_HWC)
    codes = [(finding.severity, finding.code, finding.message.split(" is")[0]) for finding in check(root).findings]
    assert codes == [("note", "empty-sequence", "pre-contrast"), ("note", "empty-sequence", "post-contrast")]


def test_a_patient_without_tumour(root: Path) -> None:
    add_patient(root, "TCGA_HT_0004_20000101", seed=8, tumour=False)
    finding = only(check(root))
    assert (finding.severity, finding.code, finding.patient_id) == ("warning", "no-tumour", "TCGA_HT_0004")


def test_gaps_in_the_slice_numbers(root: Path) -> None:
    for path in [*(root / "TCGA_CS_0001_20000101").glob("*_[14].tif"), *root.glob("TCGA_CS*/*_[14]_mask.tif")]:
        path.unlink()
    finding = only(check(root))
    assert (finding.severity, finding.code) == ("warning", "slice-gap")
    assert finding.message.startswith("slices 1, 4 are missing below 6")


def test_an_empty_patient_folder_and_a_missing_root(root: Path) -> None:
    (root / "TCGA_HT_0004_20000101").mkdir()
    assert only(check(root)).code == "no-slices"
    with pytest.raises(UserError, match="no such folder"):
        check(root / "absent")


def test_findings_are_sorted_by_severity(root: Path) -> None:
    add_patient(root, "TCGA_AA_0004_20000101", seed=8, tumour=False)
    (root / "TCGA_DU_0003_20000101" / "TCGA_DU_0003_20000101_2.tif").write_bytes(b"")
    assert [finding.severity for finding in check(root).findings] == ["error", "warning"]


def add_nifti(root: Path, name: str, *, seed: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for suffix in ("t1", "flair", "t1ce"):
        values = rng.integers(0, 999, (4, 5, 6)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.eye(4)), folder / f"{name}_{suffix}.nii.gz")
    label = np.zeros((4, 5, 6), dtype=np.uint8)
    label[1, 1, 2:4] = 3
    nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"{name}_seg.nii.gz")
    return folder


def check_nifti(root: Path) -> AuditReport:
    return audit(DataConfig(root=root, format="nifti"), progress=True)


def test_sound_nifti(tmp_path: Path) -> None:
    add_nifti(tmp_path, "a", seed=0)
    add_nifti(tmp_path, "b", seed=1)
    report = check_nifti(tmp_path)
    assert report.findings == ()
    first = report.patients[0]
    assert (first.n_slices, first.n_tumour_slices, first.n_tumour_voxels) == (6, 2, 2)
    assert (first.rows, first.columns, first.channels) == (5, 4, 3)


def test_nifti_faults_do_not_hide_each_other(tmp_path: Path) -> None:
    for seed, name in enumerate("abcd"):
        add_nifti(tmp_path, name, seed=seed)
    (tmp_path / "a" / "a_flair.nii.gz").unlink()
    (tmp_path / "b" / "b_seg.nii.gz").unlink()
    (tmp_path / "c" / "c_t1.nii.gz").write_bytes(b"broken")
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype=np.uint8), None), tmp_path / "c" / "c_seg.nii.gz")
    found = [(finding.file, finding.code) for finding in check_nifti(tmp_path).findings]
    assert found == [
        ("a", "missing-file"),
        ("b", "missing-mask"),
        ("c/c_seg.nii.gz", "no-affine"),
        ("c/c_t1.nii.gz", "unreadable"),
    ]


def test_copied_nifti(tmp_path: Path) -> None:
    add_nifti(tmp_path, "a", seed=0)
    folder = add_nifti(tmp_path, "b", seed=0)
    (folder / "b_t1ce.nii.gz").write_bytes((folder / "b_flair.nii.gz").read_bytes())
    finding = only(check_nifti(tmp_path))
    assert finding.message.startswith("flair, t1ce are identical")


def test_the_phantom_has_no_faults(phantom_root: Path) -> None:
    report = check(phantom_root)
    assert report.ok, report.table()
    assert "copied-sequence" in {finding.code for finding in report.findings}
    assert {finding.code for finding in report.findings} <= {"copied-sequence", "no-tumour"}


@pytest.mark.lgg
def test_the_real_data_has_no_faults(lgg_root: Path) -> None:
    report = check(lgg_root)
    assert report.ok, report.table()
    assert {finding.code for finding in report.findings} <= {"copied-sequence"}
