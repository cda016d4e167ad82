"""A study as an archive exports it: one folder a series, numbered as the scanner happened to."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

import highdicom as hd
import pydicom
from pydicom.uid import generate_uid

from tests.exported import small_volume
from tests.volumes.dicom_files import CORONAL, change, write_series
from wcr_med.runtime import find_sources, infer

VOLUME = small_volume(n_slices=5, size=40, seed=3)
WORDS = (
    {"description": "AX T1"},
    {"description": "AX T2 FLAIR"},
    {"description": "AX T1 +C", "ContrastBolusAgent": "Gd"},
)
GRID = {"step_mm": 5.0, "pixel_mm": (1.0, 1.0)}


def write_study(folder: Path, numbers=(2, 3, 4), *, words=WORDS, image_SHWC=VOLUME.image_SHWC, **options) -> None:
    study = options.pop("study", None) or generate_uid()
    for channel, (number, said) in enumerate(zip(numbers, words, strict=True)):
        place = folder / f"series_{number}" if number is not None else folder / "abcdef"[channel]
        values_SHW = image_SHWC[..., channel].astype(np.uint16)
        write_series(place, values_SHW, number=number, StudyInstanceUID=study, **{**GRID, **said, **options})


def write_kaggle(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, image_HWC in enumerate(VOLUME.image_SHWC, start=1):
        Image.fromarray(image_HWC).save(folder / f"p_{number}.tif")


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "volumes.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def frames(path: Path) -> np.ndarray:
    """From foot to head; the file may hold them the other way round."""
    seg = hd.seg.segread(path)
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in seg.PerFrameFunctionalGroupsSequence]
    return seg.pixel_array[np.argsort(heights)]


@pytest.mark.parametrize("numbers", [(2, 3, 4), (9, 7, 5), (300, 12, 201)])
def test_a_study_gives_the_mask_of_the_same_images_as_slices(named_model_file, tmp_path, numbers):
    write_study(tmp_path / "study", numbers)
    write_kaggle(tmp_path / "slices")
    report = infer(named_model_file, [tmp_path / "study", tmp_path / "slices"], tmp_path / "out", threads=1)
    assert not report.failures
    study, slices = report.volumes
    assert [path.name for path in study.mask_files] == ["study.seg.dcm"]
    expected_SHW = np.stack([np.asarray(Image.open(path)) > 0 for path in slices.mask_files])
    assert expected_SHW.any()
    np.testing.assert_array_equal(frames(study.mask_files[0]), expected_SHW)
    told = rows(tmp_path / "out")[0]
    assert told["channels"] == (
        f"pre-contrast: series {numbers[0]} AX T1; FLAIR: series {numbers[1]} AX T2 FLAIR;"
        f" post-contrast: series {numbers[2]} AX T1 +C"
    )
    assert told["left_out"] == ""


def test_series_that_are_not_needed_are_left_out_and_told(named_model_file, tmp_path, caplog):
    study = generate_uid()
    write_study(tmp_path / "study", study=study)
    other = np.ones((3, 30, 20), np.uint16)
    for number, name in ((1, "3-plane localizer"), (8, "AX T2"), (9, "ADC map")):
        place = tmp_path / "study" / f"series_{number}"
        frame = generate_uid()
        write_series(
            place, other, number=number, description=name, orientation=CORONAL, StudyInstanceUID=study,
            FrameOfReferenceUID=frame,
        )  # fmt: skip
    with caplog.at_level("INFO"):
        report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert not report.failures
    assert rows(tmp_path / "out")[0]["left_out"] == "1 3-plane localizer; 8 AX T2; 9 ADC map"
    assert "left out: series 1 3-plane localizer; 8 AX T2; 9 ADC map" in caplog.text


def test_a_plane_that_fits_the_others_is_taken(named_model_file, tmp_path):
    study = generate_uid()
    write_study(tmp_path / "study", study=study)
    write_series(
        tmp_path / "study" / "cor", np.ones((4, 9, 9), np.uint16), number=1, description="COR T1", orientation=CORONAL,
        StudyInstanceUID=study,
    )  # fmt: skip
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert not report.failures
    assert rows(tmp_path / "out")[0]["left_out"] == "1 COR T1"


UNSAID = ({"description": ""},) * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (UNSAID, "no series is known to be pre-contrast"),
        (({"description": "T1"}, {"description": "T1"}, WORDS[2]), "no series is known to be FLAIR"),
        ((WORDS[0], WORDS[1], {"description": "T1 axial"}), "no series is known to be post-contrast"),
        ((WORDS[1], WORDS[1], WORDS[2]), "no series is known to be pre-contrast"),
    ],
)
def test_what_headers_do_not_say_is_asked_for(named_model_file, tmp_path, words, message):
    write_study(tmp_path / "study", words=words)
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    (failure,) = report.failures
    assert message in failure.message
    assert "--channel 'FLAIR=NUMBER'" in failure.message
    assert "the series are 2" in failure.message
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_two_candidates_on_one_grid_are_asked_for(named_model_file, tmp_path):
    study = generate_uid()
    write_study(tmp_path / "study", study=study)
    write_series(
        tmp_path / "study" / "x", VOLUME.image_SHWC[..., 1].astype(np.uint16), number=11, description="FLAIR repeat",
        StudyInstanceUID=study, **GRID,
    )  # fmt: skip
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert "FLAIR could be series 3 AX T2 FLAIR or 11 FLAIR repeat" in report.failures[0].message
    chosen = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1, channels=["flair=11"])
    assert "FLAIR: series 11 FLAIR repeat" in chosen.volumes[0].channels
    assert chosen.volumes[0].left_out == "3 AX T2 FLAIR"


@pytest.mark.parametrize(
    "which",
    [
        ["pre-contrast=2", "FLAIR=3", "post-contrast=4"],
        ["1=2", "2=3", "3=4"],
        ["pre-contrast=series_2", "flair=SERIES_3", "post-contrast=*_4"],
    ],
)
def test_the_user_says_which_series(named_model_file, tmp_path, which):
    write_study(tmp_path / "study", words=UNSAID)
    write_study(tmp_path / "named")
    inputs = [tmp_path / "study", tmp_path / "named"]
    said = infer(named_model_file, inputs[:1], tmp_path / "out", threads=1, channels=which)
    known = infer(named_model_file, inputs[1:], tmp_path / "out2", threads=1)
    assert not said.failures
    np.testing.assert_array_equal(frames(said.volumes[0].mask_files[0]), frames(known.volumes[0].mask_files[0]))


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (["FLAIR=99"], "FLAIR=99 fits 0 series"),
        (["FLAIR=*T1*"], "fits 2 series"),
        (["FLAIR=4"], "one series would be both"),
    ],
)
def test_a_choice_that_cannot_be(named_model_file, tmp_path, which, message):
    write_study(tmp_path / "study")
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1, channels=which)
    assert message in report.failures[0].message


def test_a_series_without_words_is_known_by_its_times(named_model_file, tmp_path):
    times = (
        {"RepetitionTime": 500, "EchoTime": 12},
        {"RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2500},
        {"RepetitionTime": 500, "EchoTime": 12, "ContrastBolusAgent": "Gadovist"},
    )
    write_study(tmp_path / "study", words=[{"description": "", **entry} for entry in times])
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert not report.failures


def test_files_without_suffix_and_studies_side_by_side(named_model_file, tmp_path):
    for name in ("a", "b"):
        write_study(tmp_path / "export" / name / "study")
    for path in (tmp_path / "export" / "a").rglob("*.dcm"):
        path.rename(path.with_suffix(""))
    (tmp_path / "export" / "a" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    sources = find_sources([tmp_path / "export"]).sources
    assert [(source.name, len(source.files)) for source in sources] == [("a/study", 15), ("b/study", 15)]


def test_two_studies_in_one_folder_are_two_volumes(tmp_path):
    write_study(tmp_path / "p", (2, 3, 4))
    write_study(tmp_path / "p", (12, 13, 14))
    assert [source.name for source in find_sources([tmp_path / "p"]).sources] == ["series_2", "series_12"]


def test_a_segmentation_in_the_folder_is_no_series(named_model_file, tmp_path):
    write_study(tmp_path / "study")
    infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    (tmp_path / "out" / "study.seg.dcm").rename(tmp_path / "study" / "series_2" / "1.dcm")
    again = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert not again.failures


def test_a_network_of_one_sequence_takes_that_one(flair_model_file, tmp_path):
    write_study(tmp_path / "study")
    report = infer(flair_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert report.volumes[0].channels == "flair: series 3 AX T2 FLAIR"
    write_series(tmp_path / "t1", VOLUME.image_SHWC[..., 0].astype(np.uint16), description="AX T1")
    refused = infer(flair_model_file, [tmp_path / "t1"], tmp_path / "out", threads=1)
    assert "no series is known to be flair" in refused.failures[0].message


def test_a_file_that_names_no_channel_needs_to_be_told(model_file, tmp_path):
    write_study(tmp_path / "study")
    report = infer(model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert "no series is known to be channel 1" in report.failures[0].message
    which = ["1=2", "2=*FLAIR", "3=4"]
    assert not infer(model_file, [tmp_path / "study"], tmp_path / "out", threads=1, channels=which).failures


def test_the_files_agree_with_what_was_chosen(named_model_file, tmp_path):
    write_study(tmp_path / "study", (9, 7, 5))
    report = infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    header = pydicom.dcmread(report.volumes[0].mask_files[0])
    (series,) = header.ReferencedSeriesSequence
    first = pydicom.dcmread(next((tmp_path / "study" / "series_9").iterdir()))
    assert series.SeriesInstanceUID == first.SeriesInstanceUID


def test_a_damaged_series_that_is_not_needed_does_no_harm(named_model_file, tmp_path):
    study = generate_uid()
    write_study(tmp_path / "study", study=study)
    extra = write_series(
        tmp_path / "study" / "x", np.ones((3, 9, 9), np.uint16), number=1, description="scout", StudyInstanceUID=study
    )
    change(extra[0], PixelSpacing=None)
    assert not infer(named_model_file, [tmp_path / "study"], tmp_path / "out", threads=1).failures
