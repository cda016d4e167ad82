"""What may be written besides masks, going on after a stop, and the tables."""

import csv
import dataclasses
import json
import shutil
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.exported import small_volume
from tests.runtime.test_infer import table, write_nifti, write_slices
from wcr_med.errors import UserError
from wcr_med.onnx_file.checksum import seal_file
from wcr_med.pictures import Frame, Marks, background_channel, frame
from wcr_med.runtime import Failure, InferenceReport, Segmenter, infer, writers
from wcr_med.runtime.overlay import Overlays, sequence_names
from wcr_med.runtime.report import exit_code
from wcr_med.runtime.workplace import Workplace
from wcr_med.volumes import Volume
from wcr_med.volumes.images import read_mask, write_mask_image


def results(out: Path) -> dict[str, bytes]:
    """What a user sees, without the tables, whose seconds differ."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".wcr-med" not in path.parts and path.suffix != ".csv"
    }


def test_slices_as_nifti_with_a_spacing(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "brain", ["s1.png", "s2.png", "s3.png"])
    spacing_mm = (5.0, 0.5, 0.75)
    own = infer(model_file, [tmp_path / "brain"], tmp_path / "own", threads=1)
    report = infer(
        model_file, [tmp_path / "brain"], tmp_path / "out", threads=1, mask_format="nifti", spacing_mm=spacing_mm,
        probabilities=True,
    )  # fmt: skip
    assert sorted(results(tmp_path / "out")) == ["brain_mask.nii.gz", "brain_probability.nii.gz"]
    mask = nib.load(tmp_path / "out" / "brain_mask.nii.gz")
    assert mask.header.get_zooms() == spacing_mm[::-1]
    expected_SHW = np.stack([read_mask(path) for path in own.volumes[0].mask_files])
    np.testing.assert_array_equal(np.asarray(mask.dataobj).transpose(2, 1, 0), expected_SHW)
    (volume,) = report.volumes
    assert volume.lesion_ml == pytest.approx(volume.n_lesion_voxels * 5 * 0.5 * 0.75 / 1000)
    assert own.volumes[0].lesion_ml is None


def test_a_threshold_of_ones_own(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "brain", ["s1.png"])
    counts = []
    for threshold in (0.1, 0.5, 0.9):
        report = infer(model_file, [tmp_path / "brain"], tmp_path / "out", threads=1, threshold=threshold)
        counts.append(report.volumes[0].n_lesion_voxels)
        assert table(report.table)[0]["threshold"] == f"{threshold:g}"
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("kind", ["slices", "nifti"])
def test_overlays(model_file: Path, tmp_path: Path, kind: str) -> None:
    if kind == "slices":
        write_slices(tmp_path / "case", [f"s{k}.png" for k in range(1, 12)])
        given = tmp_path / "case"
    else:
        write_nifti(tmp_path / "case.nii.gz", np.moveaxis(small_volume(n_slices=11).image_SHWC, 0, 2).astype(np.int16))
        given = tmp_path / "case.nii.gz"
    infer(model_file, [given], tmp_path / "out", threads=1, overlays=True)
    pictures = sorted((tmp_path / "out" / "case_overlays").iterdir())
    assert len(pictures) == 11
    assert pictures[0].name == ("s1.png" if kind == "slices" else "00.png")
    with Image.open(pictures[3]) as image:
        assert image.mode == "RGB"
        assert min(image.size) >= 512


def words(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is written into each picture from here on."""
    written: list[list[str]] = []

    def record(marks: Marks, **sizes: float) -> Frame:
        placed = frame(marks, **sizes)  # type: ignore[arg-type]
        written.append([text.words for text in placed.texts])
        return placed

    monkeypatch.setattr("wcr_med.pictures.raster.frame", record)
    return written


def test_overlays_say_what_they_show(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_SHWC = small_volume(n_slices=3).image_SHWC
    write_slices(tmp_path / "case", ["s1.png", "s2.png", "s3.png"])
    write_nifti(tmp_path / "head.nii.gz", np.moveaxis(image_SHWC, 0, 2).astype(np.int16))
    metadata = Segmenter.from_file(model_file).metadata
    names = sequence_names(metadata, "images")
    name = names[background_channel(names)]
    written = words(monkeypatch)
    for given, sides, unit in (("case", ["sides unknown"], "px"), ("head.nii.gz", ["R", "L"], "mm")):
        written.clear()
        infer(model_file, [tmp_path / given], tmp_path / "out", threads=1, overlays=True)
        assert [found[0] for found in written] == [f"{name}, slice {number} of 3" for number in (1, 2, 3)]
        for found in written:
            assert found[1:-3] == sides
            assert found[-3].endswith(f" {unit}")
            assert found[-2:] == ["research use only", "outline by the network"]


def test_overlays_take_the_spacing_that_the_call_tells(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slices(tmp_path / "case", ["s1.png"])
    written = words(monkeypatch)
    infer(model_file, [tmp_path / "case"], tmp_path / "out", threads=1, overlays=True, spacing_mm=(5, 0.5, 0.5))
    assert written[0][-3].endswith(" mm")


def test_sequences_of_files_without_names(model_file: Path) -> None:
    metadata = dataclasses.replace(Segmenter.from_file(model_file).metadata, channels=None, channel_files=None)
    assert sequence_names(metadata, "kaggle_3m") == ("pre-contrast", "FLAIR", "post-contrast")
    assert sequence_names(metadata, "nifti") == ("channel 1", "channel 2", "channel 3")
    series = ("series 4 T1", "series 2 FLAIR", "series 3 T1 GD")
    assert sequence_names(metadata, "dicom", series) == series
    patterns = dataclasses.replace(metadata, channel_files=("*_t1.nii.gz", "*_t2.nii.gz", "*_flair.nii.gz"))
    assert sequence_names(patterns, "nifti") == ("t1", "t2", "flair")
    named = dataclasses.replace(patterns, channels=("A", "B", "C"))
    assert sequence_names(named, "dicom") == ("A", "B", "C")


def test_overlays_show_flair_in_grey(tmp_path: Path) -> None:
    image_SHWC = np.zeros((1, 64, 64, 3), np.uint8)
    image_SHWC[..., 0], image_SHWC[..., 2] = 250, 120
    image_SHWC[0, 16:48, 16:48, 1] = 200
    volume = Volume(patient_id="a", image_SHWC=image_SHWC, mask_SHW=None, spacing_mm=None, names=("a",), nifti=None)
    overlays = Overlays([tmp_path / "a.png"], volume, ("pre-contrast", "FLAIR", "post-contrast"), None)
    picture = overlays.picture(0, image_SHWC[0], np.zeros((64, 64), np.uint8))
    assert (picture == picture[..., :1]).mean() > 0.99  # the legend's sample alone has a colour
    assert (picture[200:400, 200:300] == 255).all()
    assert (picture[100:400, 20:80] == 0).all()


def test_resume_keeps_what_is_done_and_does_the_rest(model_file: Path, tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_slices(tmp_path / "in" / name, ["s1.png", "s2.png"])
    first = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1)
    kept = results(tmp_path / "out")
    write_slices(tmp_path / "in" / "p3", ["s1.png"])
    write_slices(tmp_path / "in" / "p2", ["s1.png", "s2.png"], seed=9)  # other images under the same names
    second = infer(model_file, [tmp_path / "in"], tmp_path / "out", threads=1, resume=True)
    assert [volume.resumed for volume in second.volumes] == [True, False, False]
    assert second.volumes[0].seconds == first.volumes[0].seconds
    again = results(tmp_path / "out")
    assert {name: again[name] for name in kept if name.startswith("p1")} == {
        name: kept[name] for name in kept if name.startswith("p1")
    }
    assert again["p2/s1_mask.png"] != kept["p2/s1_mask.png"]
    assert len(table(second.table)) == 3


@pytest.mark.parametrize(
    "options", [{"threshold": 0.4}, {"probabilities": True}, {"mask_format": "nifti"}, {"overlays": True}]
)
def test_other_options_are_done_again(model_file: Path, tmp_path: Path, options: dict[str, object]) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True, **options)
    assert not report.volumes[0].resumed
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True, batch_size=1, **options)
    assert report.volumes[0].resumed


def test_another_model_file_is_done_again(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    other = tmp_path / "other.onnx"
    other.write_bytes(model_file.read_bytes() + b"\xfa\x3f\x01x")  # an unknown field: another file, the same network
    seal_file(other)
    moved = shutil.copy(model_file, tmp_path / "moved.onnx")
    report = infer(other, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
    assert not report.volumes[0].resumed
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert infer(Path(moved), [tmp_path / "p"], tmp_path / "out", threads=1, resume=True).volumes[0].resumed


@pytest.mark.parametrize("damage", ["lost", "cut", "flipped", "record"])
def test_damaged_results_are_done_again(model_file: Path, tmp_path: Path, damage: str) -> None:
    write_slices(tmp_path / "p", ["s1.png", "s2.png"])
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    path = report.volumes[0].mask_files[1]
    whole = results(tmp_path / "out")
    if damage == "lost":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    else:
        (record,) = (tmp_path / "out" / ".wcr-med" / "done").iterdir()
        record.write_text("{")
    again = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
    assert not again.volumes[0].resumed
    assert results(tmp_path / "out") == whole


def test_a_stop_in_the_middle_leaves_nothing_that_looks_done(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slices(tmp_path / "p", ["s1.png", "s2.png", "s3.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    write_slices(tmp_path / "p", ["s1.png", "s2.png", "s3.png"], seed=5)

    def stop(mask_HW: np.ndarray, path: Path) -> None:
        if path.stem.startswith("s3"):
            raise KeyboardInterrupt
        write_mask_image(mask_HW, path)

    with monkeypatch.context() as patch:
        patch.setattr(writers, "write_mask_image", stop)
        with pytest.raises(KeyboardInterrupt):
            infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
    assert results(tmp_path / "out") == {}  # nor is the answer to the old images left
    assert not (tmp_path / "out" / "volumes.csv").exists()
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1, resume=True)
    assert (report.ok, report.volumes[0].resumed, len(results(tmp_path / "out"))) == (True, False, 3)


def test_a_failure_leaves_no_mask_of_an_earlier_call(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png", "s2.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    (tmp_path / "out" / "p" / "notes.txt").write_text("the user's own")
    (tmp_path / "p" / "s2.png").write_bytes(b"damaged")
    report = infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert report.exit_code == 101
    assert list(results(tmp_path / "out")) == ["p/notes.txt"]
    with report.failure_table.open() as stream:
        (row,) = csv.DictReader(stream)
    assert row == {"volume": "p", "error": report.failures[0].message}


def test_slices_that_are_no_more_leave_no_masks(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png", "s2.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    (tmp_path / "p" / "s2.png").unlink()
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert list(results(tmp_path / "out")) == ["p/s1_mask.png"]


def test_a_forged_record_removes_nothing_outside(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    (record,) = (tmp_path / "out" / ".wcr-med" / "done").iterdir()
    document = json.loads(record.read_text())
    document["files"] = {"../precious.txt": 4, str(precious): 4}
    record.write_text(json.dumps(document))
    infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert precious.read_text() == "keep"


def test_two_calls_do_not_share_a_folder(model_file: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    elsewhere = Workplace(out=tmp_path / "out", signature={})
    with elsewhere.opened(), pytest.raises(UserError, match="another call writes its results here"):
        infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1)
    assert infer(model_file, [tmp_path / "p"], tmp_path / "out", threads=1).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold 0"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "three positive numbers"),
        ({"spacing_mm": (1.0, 1.0)}, "three positive numbers"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"processes": 0}, "processes 0"),
        ({"threads": -1}, "threads -1"),
        ({"mask_format": "png"}, "give one of own, nifti"),
    ],
)
def test_options_out_of_range(model_file: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        infer(model_file, [tmp_path], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("n_failures", "code"), [(0, 0), (1, 101), (24, 124), (25, 125), (400, 125)])
def test_the_exit_code_counts_failures(n_failures: int, code: int) -> None:
    failures = tuple(Failure(name=str(number), message="x; y") for number in range(n_failures))
    assert exit_code(failures) == code
    report = InferenceReport(volumes=(), failures=failures, table=Path("a"), failure_table=Path("b"))
    assert report.exit_code == code


def peak(model_file: Path, folder: Path, n_slices: int) -> int:
    """Most memory that Python and numpy hold while a NIfTI volume is segmented to masks, probabilities and pictures."""
    values = np.zeros((256, 256, n_slices, 3), np.int16)
    values[40:200, 60:200] = np.random.default_rng(0).integers(100, 900, (160, 140, n_slices, 3))
    write_nifti(folder / f"{n_slices}.nii.gz", values)
    del values
    tracemalloc.start()
    report = infer(
        model_file, [folder / f"{n_slices}.nii.gz"], folder / f"out_{n_slices}", threads=1, probabilities=True,
        batch_size=2,
    )  # fmt: skip
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.ok
    return most


@pytest.mark.slow
def test_memory_is_bounded_by_a_batch_and_not_by_the_volume(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wcr_med.volumes.scratch.IN_MEMORY_BYTES", 2**20)
    few, many = peak(model_file, tmp_path, 16), peak(model_file, tmp_path, 160)
    assert many < 1.2 * few
    assert many < 160 * 256 * 256 * 3 * 2 / 2  # half of what the voxels alone would take
