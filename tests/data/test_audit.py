"""The audit finds every fault that was put there, none that was not, and goes on after each."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wcr_med.config import DataConfig, NiftiConfig
from wcr_med.data.audit import AuditReport, Finding, audit
from wcr_med.data.cache import _key
from wcr_med.data.content import content_hash
from wcr_med.data.index import index_folder, index_patients, load_volume
from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json
from wcr_med.preprocess import PreprocessSettings

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
    label[1, 1, 2:4] = 1
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


def test_what_masks_hold_is_told(root: Path) -> None:
    path = root / "TCGA_DU_0002_20000101" / "TCGA_DU_0002_20000101_3_mask.tif"
    save(path, np.array([[0, 1, 255]] * SIDE, dtype=np.uint8).repeat(3, axis=1)[:, :SIDE])
    report = check(root)
    values = [(entry["value"], entry["n_patients"], entry["becomes"]) for entry in report.to_dict()["mask_values"]]
    assert values == [(0, 3, "background"), (1, 1, "refused"), (255, 3, "lesion")]
    assert "mask value 1 in 1 patient: refused" in report.table()
    assert only(report).code == "mask-values"


@pytest.mark.parametrize("how", ["inverted", "everywhere", "outside"])
def test_masks_that_cannot_be(tmp_path: Path, how: str) -> None:
    """A bright disc of noise in a black frame, which is its head."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    head = (rows - 20) ** 2 + (columns - 20) ** 2 < 14**2
    lesion = (rows - 20) ** 2 + (columns - 15) ** 2 < 4**2
    wrong = {"inverted": ~lesion, "everywhere": rows >= 0, "outside": (rows < 5) & (columns < 5)}[how]
    for name, mask in (("TCGA_CS_0001_20000101", lesion), ("TCGA_CS_0002_20000101", wrong)):
        (tmp_path / name).mkdir()
        for number in (1, 2):
            image = rng.integers(60, 200, (40, 40, 3)) * head[..., None]
            save(tmp_path / name / f"{name}_{number}.tif", image.astype(np.uint8))
            save(tmp_path / name / f"{name}_{number}_mask.tif", np.where(mask, 255, 0).astype(np.uint8))
    findings = check(tmp_path).findings
    assert {finding.severity for finding in findings} == {"warning"}
    assert {finding.patient_id for finding in findings} == {"TCGA_CS_0002"}
    said = {finding.code: finding.message for finding in findings}
    if how == "outside":
        assert list(said) == ["mask-outside-head"]
        assert said["mask-outside-head"].startswith("100 % of the mask lies outside the head")
    else:
        assert "mask-everywhere" in said
        covered = {"inverted": 97, "everywhere": 100}[how]
        assert f"of the head and covers {covered} % of the slices" in said["mask-everywhere"]
        assert "mask-outside-head" in said


def test_labels_of_several_values_are_a_choice(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        folder = add_nifti(tmp_path, name, seed=seed)
        label = np.zeros((4, 5, 6), dtype=np.uint8)
        label[1, 1, :4] = (1, 2, 2, 4) if name != "c" else 1
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"{name}_seg.nii.gz")
    report = check_nifti(tmp_path)
    assert [(finding.severity, finding.code, finding.patient_id) for finding in report.findings] == [
        ("error", "mask-values", "a"),
        ("error", "mask-values", "b"),
    ]
    message = report.findings[0].message
    assert "label values 0, 1, 2, 4, of which 2, 4 are not named; set data.nifti.lesion_values" in message
    assert [(entry.value, entry.n_patients, entry.becomes) for entry in report.mask_values] == [
        (0, 3, "background"), (1, 3, "lesion"), (2, 2, "refused"), (4, 2, "refused"),
    ]  # fmt: skip
    assert report.patients[0].n_slices == 6, "the images are looked at all the same"
    config = DataConfig(
        root=tmp_path, format="nifti", nifti=NiftiConfig(lesion_values=(1, 4), background_values=(0, 2))
    )
    report = audit(config, progress=False)
    assert report.findings == ()
    assert [patient.n_tumour_voxels for patient in report.patients] == [2, 2, 4]
    assert {entry.value: entry.becomes for entry in report.mask_values}[2] == "background"
    volume = load_volume(index_patients(config)[0])
    assert volume.mask_SHW is not None
    assert volume.mask_SHW.sum() == 2
    with pytest.raises(ValueError, match="4 is in lesion_values and in background_values"):
        NiftiConfig(lesion_values=(4,), background_values=(0, 4))


def test_the_choice_is_part_of_what_is_prepared(tmp_path: Path) -> None:
    add_nifti(tmp_path, "a", seed=0)
    plain = DataConfig(root=tmp_path, format="nifti")
    chosen = DataConfig(root=tmp_path, format="nifti", nifti=NiftiConfig(lesion_values=(2,), background_values=(0, 1)))
    entries = [index_patients(config) for config in (plain, chosen)]
    assert content_hash(entries[0]) != content_hash(entries[1])
    keys = [_key(found, PreprocessSettings()) for found in entries]
    assert keys[0] != keys[1]


def test_channels_are_those_of_the_network(root: Path) -> None:
    report = audit(DataConfig(root=root), progress=False, in_channels=4)
    finding = only(report)
    assert (finding.severity, finding.code) == ("error", "wrong-channels")
    assert finding.message.startswith("3 channels (and 2 more patients), but model.in_channels is 4; set")
    assert audit(DataConfig(root=root), progress=False, in_channels=3).ok


def test_the_clinical_table_is_told(root: Path) -> None:
    table = "# by hand\n;id;sex\n0;TCGA_CS_0001 ;f\n1;TCGA_DU_0002;m\n"
    (root / "data.csv").write_text(table, encoding="utf-8")
    report = check(root)
    assert report.to_dict()["clinical"] == {
        "n_patients": 2,
        "separator": "semicolon",
        "id_column": "id",
        "columns": ["sex"],
        "left_out": ["1 comment line", "column 1 without a name"],
    }
    assert [(finding.severity, finding.file, finding.code) for finding in report.findings] == [
        ("warning", "data.csv", "no-clinical-line"),
        ("note", "data.csv", "left-out"),
        ("note", "data.csv", "left-out"),
    ]
    assert "data.csv, 2 patients: column of patients 'id', separator semicolon, columns: sex" in report.table()
    for content, code in ((b"a,b\nx,1\n", "no-clinical-line"), (b'id,x\na,"1\n', "bad-table")):
        (root / "data.csv").write_bytes(content)
        assert code in {finding.code for finding in check(root).findings}


def test_names_that_cannot_be_written(root: Path) -> None:
    odd, long = os.fsdecode(b"p\xff"), "n" * 245
    for seed, name in enumerate((odd, long)):
        (root / name).mkdir()
        save(
            root / name / "s_1.tif", np.random.default_rng(50 + seed).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        )
        save(root / name / "s_1_mask.tif", np.eye(SIDE, dtype=np.uint8) * 255)
    report = check(root)
    assert {(finding.code, finding.patient_id) for finding in report.findings} == {
        ("bad-name", odd),
        ("bad-name", long),
    }
    assert len(report.patients) == 5
    assert all(patient.n_slices for patient in report.patients), "the others are looked at, these too"
    write_json(root / "audit.json", report.to_dict())
    assert read_json(root / "audit.json") == report.to_dict()
    assert "p\\udcff" in report.table()
    for name in (odd, long):
        with pytest.raises(UserError, match="its name"):
            index_folder(root / name, DataConfig(root=root))


def test_air_that_is_not_about_zero(tmp_path: Path) -> None:
    folder = add_nifti(tmp_path, "a", seed=0)
    path = folder / "a_flair.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32) - 1000, image.affine), path)
    findings = [finding for finding in check_nifti(tmp_path).findings if finding.code == "not-magnitude"]
    (finding,) = findings
    assert finding.severity == "warning"
    assert "100% of flair" in finding.message
    assert "expected at most 1%" in finding.message


def test_what_is_not_there_or_not_read_is_told(root: Path) -> None:
    name = "TCGA_DU_0002_20000101"
    (root / "TCGA_HT_0009_20000101").symlink_to(root / "gone")
    save(root / name / f"{name}_7.png", np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    (root / name / "notes.txt").touch()
    found = [(finding.severity, finding.code, finding.file) for finding in check(root).findings]
    assert found == [("error", "missing-file", "TCGA_HT_0009_20000101"), ("warning", "left-out", name)]
    with pytest.raises(UserError, match="a link to nothing"):
        index_patients(DataConfig(root=root))
