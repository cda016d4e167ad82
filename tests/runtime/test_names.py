"""Names of inputs: relative, odd, too long, or no text at all. Each mask has a place, or its volume fails in a line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.exported import small_volume
from tests.runtime.test_infer import write_slices
from tests.runtime.test_sources import shown, touch
from wcr_med.files import read_csv, read_json, write_json
from wcr_med.runtime import find_sources, infer
from wcr_med.runtime.options import MaskFormat
from wcr_med.runtime.workplace import Workplace
from wcr_med.volumes import FileError

BAD_BYTES = os.fsdecode(b"p\xff")  # a name in an encoding that is not UTF-8


def masks(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*_mask*")}


@pytest.mark.parametrize("given", ["..", ".", "../../p7/sub/..", "../../*/sub/..", "../sub/../../p?"])
def test_a_volume_has_its_real_name(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    write_slices(tmp_path / "in" / "p7", ["s1.png", "s2.png"])
    (tmp_path / "in" / "p7" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "in" / "p7" / ("" if given == "." else "sub"))
    for resume in (False, True):
        report = infer(model_file, [Path(given)], tmp_path / "out", threads=1, resume=resume)
        assert [volume.name for volume in report.volumes] == ["p7"]
        assert report.volumes[0].resumed == resume
        assert masks(tmp_path / "out") == {"p7/s1_mask.png", "p7/s2_mask.png"}
        assert all(path.is_file() for path in report.volumes[0].mask_files)


def test_slices_above_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "p7", "s1.png", "s2.png", "sub/x.txt")
    monkeypatch.chdir(tmp_path / "p7" / "sub")
    assert shown(find_sources([Path("../s1.png"), Path("../s2.png")])) == [("p7", "images", ("s1.png", "s2.png"))]


def test_two_spellings_of_one_folder_are_one_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "p7", "s1.png", "sub/x.txt")
    monkeypatch.chdir(tmp_path / "p7" / "sub")
    assert [name for name, *_ in shown(find_sources([Path(".."), tmp_path / "p7"]))] == ["p7"]


def test_a_pattern_that_leaves_its_folder_names_what_it_finds(tmp_path: Path) -> None:
    touch(tmp_path, "a/x/s.txt", "b/p1/s1.png", "b/p2/s1.png")
    found = shown(find_sources([tmp_path / "a" / "*" / ".." / ".." / "b" / "p*"]))
    assert [name for name, *_ in found] == ["p1", "p2"]


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path / "real", "s1.png")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert [name for name, *_ in shown(find_sources([tmp_path / "linked"]))] == ["linked"]


def test_resume_keeps_no_volume_without_its_masks(model_file: Path, tmp_path: Path) -> None:
    """A record that promises nothing, as earlier versions wrote for a folder named `..`."""
    write_slices(tmp_path / "p", ["s1.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    (record,) = (tmp_path / "out" / ".wcr-med" / "done").glob("*.json")
    document = read_json(record)
    assert list(document["files"]) == document["volume"]["mask_files"] == ["p/s1_mask.png"]
    changes: list[dict[str, object]] = [{"files": {}}, {"volume": document["volume"] | {"mask_files": []}}]
    for change in changes:
        write_json(record, document | change)
        report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
        assert not report.volumes[0].resumed
        assert masks(tmp_path / "out") == {"p/s1_mask.png"}


@pytest.mark.parametrize("what", ["mask", "record"])
def test_resume_notices_one_changed_byte(model_file: Path, tmp_path: Path, what: str) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    (record,) = (tmp_path / "out" / ".wcr-med" / "done").glob("*.json")
    path = report.volumes[0].mask_files[0] if what == "mask" else record
    whole = report.volumes[0].mask_files[0].read_bytes()
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if what == "mask" else content.index(b"n_lesion_voxels") + 18
    content[place] ^= 1
    path.write_bytes(content)
    again = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
    assert not again.volumes[0].resumed
    assert again.volumes[0].n_lesion_voxels == report.volumes[0].n_lesion_voxels
    assert report.volumes[0].mask_files[0].read_bytes() == whole


def test_no_old_mask_stays_where_a_volume_is_not_found_whole(model_file: Path, tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_slices(tmp_path / "in" / name, ["s1.png"])
    infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    (tmp_path / "in" / "p1" / "s2.png").symlink_to(tmp_path / "gone.png")
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1, resume=True)
    assert [failure.name for failure in report.failures] == ["p1"]
    assert masks(tmp_path / "out") == {"p2/s1_mask.png"}


def test_two_results_of_one_name_are_refused(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    shutil.copy(tmp_path / "p" / "s1.png", tmp_path / "p" / "s1.PNG")
    for inputs in ([tmp_path / "p"], [tmp_path / "p" / "s1.png", tmp_path / "p" / "s1.PNG"]):
        (failure,) = infer(model_file, inputs, tmp_path / "out", threads=1).failures
        assert "once more, by its name; keep one of them" in failure.message
    one, other = tmp_path / "a" / "s1.png", tmp_path / "out" / "p" / "s1_mask.png"
    with pytest.raises(FileError, match="two results would have this name"):
        Workplace(out=tmp_path / "out", signature={}).check_names([one, one], tmp_path / "a")
    with pytest.raises(FileError, match="no name for a result"):
        Workplace(out=tmp_path / "out", signature={}).check_names([other.parent / ".." / ".." / "x"], tmp_path / "out")
    assert masks(tmp_path / "out") == set()


def test_a_result_in_the_way_fails_that_volume_alone(model_file: Path, tmp_path: Path) -> None:
    for name in ("p1", "p2", "p3", "volumes.csv"):
        write_slices(tmp_path / "in" / name, ["s1.png"])
    (tmp_path / "out" / "p2" / "s1_mask.png").mkdir(parents=True)
    (tmp_path / "out" / "p3").touch()
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    assert [volume.name for volume in report.volumes] == ["p1"]
    said = {failure.name: failure.message for failure in report.failures}
    assert "a folder has the name of this result" in said["p2"]
    assert "a file has the name of its folder" in said["p3"]
    assert "no name for a result; rename the volume" in said["volumes.csv"]


def test_slices_that_are_not_there(model_file: Path, tmp_path: Path) -> None:
    """Links to nothing, gaps, and images of another kind beside the slices."""
    for name in ("linked", "gap", "every_second", "beside"):
        numbers = (1, 2, 4, 8) if name == "gap" else (1, 3, 5, 7)
        write_slices(tmp_path / "in" / name, [f"s_{number}.{'png' if name == 'gap' else 'tif'}" for number in numbers])
    (tmp_path / "in" / "linked" / "s_9.tif").symlink_to(tmp_path / "gone.tif")
    (tmp_path / "in" / "patient").symlink_to(tmp_path / "gone")
    (tmp_path / "in" / "gap" / "s_8_mask.png").symlink_to(tmp_path / "gone.png")  # no slice
    for name in ("s_9.png", "s_9.jpg", "s_1_mask.tif", "s_9_mask.png", "notes.txt"):
        (tmp_path / "in" / "beside" / name).touch()
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    found = {volume.name: volume for volume in report.volumes}
    assert sorted(found) == ["beside", "every_second", "gap"]
    assert sorted(failure.name for failure in report.failures) == ["gap/s_8_mask.png", "linked", "patient"]
    assert all("a link to nothing; restore" in failure.message for failure in report.failures)
    assert "slices 3, 5, 6, 7 are missing between 1 and 8" in found["gap"].warning
    assert "missing" not in found["every_second"].warning + found["beside"].warning
    assert found["beside"].left_out == "s_9.jpg; s_9.png"


def test_letters_sort_alike_however_they_are_composed(tmp_path: Path) -> None:
    names = ("é1.png", "e\u03012.png", "é3.png", "e\u030110.png")
    touch(tmp_path / "p", *names)
    assert shown(find_sources([tmp_path / "p"])) == [("p", "images", names)]


@pytest.mark.parametrize(("spacing", "warned"), [((0.9, 0.9, 5), False), ((5, 0.9, 0.9), True), ((0.9, 5, 0.9), True)])
def test_scans_that_are_not_axial(
    model_file: Path, tmp_path: Path, spacing: tuple[float, float, float], warned: bool
) -> None:
    values = np.moveaxis(small_volume().image_SHWC, 0, 2)
    nib.save(nib.Nifti1Image(values, np.diag([-spacing[0], -spacing[1], spacing[2], 1])), tmp_path / "v.nii.gz")
    (volume,) = infer(model_file, [tmp_path / "v.nii.gz"], tmp_path / "out", threads=1).volumes
    assert ("acquired in another direction" in volume.warning) == warned


def test_an_input_of_the_current_folder_is_named(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nib.save(nib.Nifti1Image(np.ones((8, 8, 4), np.float32), np.diag([1, 1, 1, 1])), tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    (failure,) = infer(model_file, [Path("scan.nii.gz")], tmp_path / "out", threads=1).failures
    assert failure.message.startswith("scan.nii.gz: ")


@pytest.mark.parametrize("mask_format", ["own", "nifti"])
def test_a_name_that_cannot_be_written_fails_alone(model_file: Path, tmp_path: Path, mask_format: MaskFormat) -> None:
    for name in ("good", BAD_BYTES):
        write_slices(tmp_path / "in" / name, ["s1.png"])
    write_slices(tmp_path / "in" / ("n" * 245), ["s1.png"])
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1, mask_format=mask_format)
    done = {volume.name for volume in report.volumes}
    assert done == (
        {"good", "n" * 245} if mask_format == "own" else {"good"}
    )  # a folder of that name fits, a file does not
    failed = {failure.name: failure.message for failure in report.failures}
    assert "not valid UTF-8" in failed[BAD_BYTES]
    if mask_format == "nifti":
        assert "shorten the volume's name" in failed["n" * 245]
    assert all("\n" not in message and "unexpected" not in message for message in failed.values())
    assert {row["volume"] for row in read_csv(report.failure_table)} == set(failed)


def test_a_long_slice_name_has_its_mask(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", [f"{'s' * 240}.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert masks(tmp_path / "out") == {f"p/{'s' * 240}_mask.png"}


NAMES = ("=1+1", "+1", "-x", "@SUM(1)", "\tx", "a\x1b[31mb", "a\u202eb", "a\nb", "'q", "back\\slash", "plain", "\\n=")


def test_tables_quote_names_and_give_them_back(model_file: Path, tmp_path: Path) -> None:
    for name in NAMES:
        write_slices(tmp_path / "in" / name, ["s1.png"])
    (tmp_path / "in" / "=bad").mkdir()
    (tmp_path / "in" / "=bad" / "s1.png").write_bytes(b"damaged")
    report = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    assert {row["volume"] for row in read_csv(report.table)} == {*NAMES, "=bad"}
    assert [row["volume"] for row in read_csv(report.failure_table)] == ["=bad"]
    for path in (report.table, report.failure_table):
        text = path.read_text(encoding="utf-8")
        assert not any(line.startswith(("=", "-x", "@", "\t", '"=')) for line in text.splitlines())
        assert not set("\t\x1b\u202e") & set(text)
    assert "\nplain," in report.table.read_text(encoding="utf-8")


def test_a_terminal_shows_names_as_escapes_in_any_code_page(model_file: Path, tmp_path: Path) -> None:
    for name in ("a\x1b[31mb", "a\u202eb", "Łódź"):
        write_slices(tmp_path / "in" / name, ["s1.png"])
    write_slices(tmp_path / "in" / "bad\x1b\u202e", ["s1.png"])
    (tmp_path / "in" / "bad\x1b\u202e" / "s1.png").write_bytes(b"damaged")
    command = [
        sys.executable,
        "-m",
        "wcr_med",
        "infer",
        str(model_file),
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "Ł"),
    ]
    for page in ("cp1252:strict", "utf-8"):
        for options, code in ((["--dry-run"], 0), ([], 101)):
            environment = {**os.environ, "PYTHONIOENCODING": page}
            done = subprocess.run([*command, *options], capture_output=True, env=environment, check=False)
            said = (done.stdout + done.stderr).decode(page.split(":")[0])
            assert done.returncode == code, said
            assert not set("\x1b\u202e") & set(said), said
            assert "\\x1b" in said
            assert "\\u202e" in said
            assert "Traceback" not in said
            assert ("Ł" in said) == (page == "utf-8")
