import logging

import numpy as np
import pytest
from PIL import Image

from wcr_med.config import DataConfig
from wcr_med.data.attributes import find_missing_sequences, read_attributes
from wcr_med.data.clinical import read_clinical
from wcr_med.data.index import index_patients
from wcr_med.data.sequences import ChannelContent, missing_sequences
from wcr_med.errors import UserError

NAMES = ("pre-contrast", "FLAIR", "post-contrast")


def content_of(*slices_HWC):
    content = ChannelContent()
    for image_HWC in slices_HWC:
        content.see(image_HWC)
    return content


def image(*channels):
    """Channels by a number each: 0 is constant, equal numbers are equal images."""
    rng_of = {number: np.random.default_rng(number).integers(0, 255, (6, 6)) for number in channels}
    rng_of[0] = np.full((6, 6), 7)
    return np.stack([rng_of[number] for number in channels], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ((1, 2, 3), ()),
        ((2, 2, 3), ("pre-contrast",)),  # a copy of FLAIR
        ((1, 2, 2), ("post-contrast",)),
        ((2, 2, 2), ("pre-contrast", "post-contrast")),
        ((1, 2, 1), ("post-contrast",)),  # no FLAIR among the equal ones: the first is real
        ((0, 2, 3), ("pre-contrast",)),
        ((0, 2, 2), ("pre-contrast", "post-contrast")),
        ((0, 0, 0), NAMES),
    ],
)
def test_missing_sequences(channels, expected):
    assert missing_sequences(content_of(image(*channels)), NAMES) == expected


def test_one_slice_that_differs_is_enough():
    content = content_of(image(2, 2, 2), image(0, 0, 0))
    assert not content.settled
    content.see(image(1, 2, 3))
    assert content.settled
    assert missing_sequences(content, NAMES) == ()
    assert not ChannelContent().settled


def write_patient(root, name, *channels):
    folder = root / name
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(image(*channels)).save(folder / f"{name}_{number}.tif")
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(folder / f"{name}_{number}_mask.tif")


@pytest.fixture
def root(tmp_path):
    write_patient(tmp_path, "TCGA_CS_4941_19960909", 2, 2, 3)
    write_patient(tmp_path, "TCGA_DU_5849_19950405", 1, 2, 3)
    write_patient(tmp_path, "other", 1, 2, 2)
    return tmp_path


def test_attributes_of_a_folder(root, caplog):
    (root / "data.csv").write_text("Patient,gender,age\nTCGA_CS_4941,1,\nTCGA_DU_5849, 2,50\nTCGA_XX_0000,1,1\n")
    with caplog.at_level(logging.WARNING):
        found = read_attributes(index_patients(DataConfig(root=root)), root)
    assert list(found) == ["TCGA_CS_4941", "TCGA_DU_5849", "other"]
    assert found["TCGA_CS_4941"].clinical == {"gender": "1"}
    assert found["TCGA_DU_5849"].clinical == {"gender": "2", "age": "50"}
    assert [entry.missing_sequences for entry in found.values()] == [("pre-contrast",), (), ("post-contrast",)]
    assert [entry.institution for entry in found.values()] == ["CS", "DU", "unknown"]
    assert [record.getMessage() for record in caplog.records] == [f"{root / 'data.csv'}: no line for other"]


def test_without_a_table(root):
    found = read_attributes(index_patients(DataConfig(root=root)), root)
    assert all(entry.clinical == {} for entry in found.values())


def test_a_table_of_other_patients(tmp_path, caplog):
    path = tmp_path / "data.csv"
    path.write_text("Patient,gender\nsomebody,1\n")
    assert read_clinical(path, ["a"]) == {}
    assert "no column holds a patient id" in caplog.text


def test_the_column_of_patients_may_stand_anywhere(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("gender,id\n1,a\n2,b\n")
    assert read_clinical(path, ["a", "b"]) == {"a": {"gender": "1"}, "b": {"gender": "2"}}


def test_fields_without_a_name_do_not_shift_the_others(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("Patient,gender\na,1,9\nb,2,9\n")
    assert read_clinical(path, ["a", "b"]) == {"a": {"gender": "1"}, "b": {"gender": "2"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable table"),
        (b'Patient,x\na,"1\n', "not a readable table"),
        (b"Patient,x\na,\xff\xfe\n", "not a readable table"),
        (b"Patient,x\na,1\na,2\n", "patient a stands in two lines"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, content, message):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_clinical(path, ["a"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_phantom(phantom_root):
    found = read_attributes(index_patients(DataConfig(root=phantom_root)), phantom_root)
    assert len(found) == 12
    assert all(entry.clinical for entry in found.values())


@pytest.mark.lgg
def test_the_real_data(lgg_root):
    entries = index_patients(DataConfig(root=lgg_root))
    clinical = read_clinical(lgg_root / "data.csv", [entry.patient_id for entry in entries])
    assert set(clinical) <= {entry.patient_id for entry in entries}
    lacking = [find_missing_sequences(entry) for entry in entries[:12]]
    assert all(set(names) <= {"pre-contrast", "post-contrast"} for names in lacking)


ROWS = [("a", "1", "50"), ("b", "2", "61")]
EXPECTED = {"a": {"gender": "1", "age": "50"}, "b": {"gender": "2", "age": "61"}}


def joined(separator, *rows):
    return "\n".join(separator.join(row) for row in rows) + "\n"


HEAD = ("Patient", "gender", "age")
DIALECTS = {
    "comma": joined(",", HEAD, *ROWS),
    "semicolon": joined(";", HEAD, *ROWS),
    "decimal commas": joined(";", HEAD, ("a", "1", "50"), ("b", "2", "61"), ("z", "1,5", "7,25")),
    "tab": joined("\t", HEAD, *ROWS),
    "bar": joined("|", HEAD, *ROWS),
    "hint": "sep=;\n" + joined(";", HEAD, *ROWS),
    "comments": "# exported 2024-05-01, by hand\n" + joined(",", HEAD, ROWS[0]) + "# the rest\n" + joined(",", ROWS[1]),
    "title": "Clinical data of the study\n\n" + joined(",", HEAD, *ROWS),
    "index": joined(",", ("", *HEAD), *((str(n), *row) for n, row in enumerate(ROWS))),
    "pandas twice": joined(",", ("Unnamed: 0", *HEAD), *((str(n), *row) for n, row in enumerate(ROWS))),
    "nameless ids": joined(",", ("", *HEAD[1:]), *ROWS),
    "blanks": joined(" , ", HEAD, *ROWS).replace("\n", "  \n"),
    "quotes": joined(",", *(tuple(f'"{cell} "' for cell in row) for row in (HEAD, *ROWS))),
    "windows": joined(",", HEAD, *ROWS).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(tmp_path, caplog, dialect, encoding):
    path = tmp_path / "data.csv"
    path.write_bytes(DIALECTS[dialect].encode(encoding))
    with caplog.at_level(logging.INFO):
        assert read_clinical(path, ["a", "b"]) == EXPECTED
    assert "columns: gender, age" in caplog.text
    named = "a nameless column of patients" if dialect == "nameless ids" else "column of patients 'Patient'"
    assert named in caplog.text
    assert "Unnamed" not in caplog.text
    left_out = {
        "comments": "left out: 2 comment lines",
        "title": "left out: title 'Clinical data of the study'",
        "index": "left out: column 1 without a name",
        "pandas twice": "left out: column 1 without a name",
    }.get(dialect)
    assert (left_out or "columns: gender, age\n") in caplog.text


def test_fields_without_a_column_are_told(tmp_path, caplog):
    (tmp_path / "data.csv").write_text("Patient,gender,age,\na,1,50,5\nb,2,61,\n")
    (tmp_path / "short.csv").write_text("Patient,gender,age\na,1,50,5\nb,2,61,\n")  # 50,5: a decimal comma
    with caplog.at_level(logging.INFO):
        assert read_clinical(tmp_path / "short.csv", ["a", "b"]) == EXPECTED
    assert "left out: fields beyond the last column, in 1 line\n" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert read_clinical(tmp_path / "data.csv", ["a", "b"]) == EXPECTED
    assert "left out: column 4 without a name\n" in caplog.text
