"""Files are whole or absent."""

import errno
import logging
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.errors import UserError
from wcr_med.evaluation.tables import write_records
from wcr_med.files import (
    atomic_folder,
    atomic_path,
    read_csv,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_csv,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_success_replaces_the_file_and_keeps_the_suffix_for_writers(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["a.nii.gz"]


def test_a_folder_is_whole_or_absent_and_never_replaces_another(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()  # an empty one may be there
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "none").touch()
        raise ZeroDivisionError
    assert names(target) == []
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("one")
    with pytest.raises(UserError, match="was made by another process meanwhile"), atomic_folder(target) as temporary:
        (temporary / "two").write_text("two")
    assert names(tmp_path) == ["set"]
    assert names(target) == ["one"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "not permitted"),
        (errno.EROFS, "not permitted"),
        (errno.ENOTDIR, "a file stands"),
    ],
)
def test_refusals_of_the_system_become_one_line(tmp_path: Path, code: int, message: str) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(UserError, match=message), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(code, os.strerror(code))
    assert names(tmp_path) == []


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), atomic_path(tmp_path / "a"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_full_disk_is_named_for_real() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    from wcr_med.files import explain_os_errors

    with (
        pytest.raises(UserError, match="disk is full"),
        explain_os_errors(full),
        full.open("wb", buffering=0) as stream,
    ):
        stream.write(b"x")


def test_json_goes_and_comes_back_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None, "ä"]})
    assert read_json(path) == {"b": [1, None, "ä"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert read_json(path) == {"b": [1, None, "ä"]}


def test_bad_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")


def test_hashes_are_of_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a").startswith("ba7816bf")
    assert sha256_of_json({"a": 1, "b": 2}) == sha256_of_json({"b": 2, "a": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})


RECORD = {"schema_version": 3, "dice": 0.5625, "by_number": {10: "a", 9: "b"}, "names": ["Ł", "a\udcff"], "none": None}


def test_a_record_is_sealed_and_comes_back_without_its_seal(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    assert '"seal": "sha256:' in path.read_text().splitlines()[-2]
    assert read_json(path) == {**RECORD, "by_number": {"10": "a", "9": "b"}}
    write_json(path, read_json(path))
    assert read_json(path)["dice"] == 0.5625


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_number_that_json_has_not_is_a_changed_record(tmp_path: Path, number: str) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    path.write_text(path.read_text().replace("0.5625", number))
    with pytest.raises(UserError, match="was changed or damaged"):
        read_json(path)


def test_every_changed_byte_of_a_record_is_noticed_or_means_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    content, record = path.read_bytes(), read_json(path)
    with caplog.at_level(logging.INFO):
        for place in range(len(content)):
            for letter in (b"7", b"}", b"\n", bytes([content[place] ^ 1])):
                path.write_bytes(content[:place] + letter + content[place + 1 :])
                assert _read_or_refused(path, refused={}) in (record, {}), (place, letter)
    assert "no seal" not in caplog.text  # none of these passes for a file of an older version


def _read_or_refused(path: Path, refused: object) -> object:
    try:
        return read_json(path)
    except UserError:
        return refused


def test_a_record_of_an_older_version_is_read_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"dice": 0.5}')
    with caplog.at_level(logging.INFO):
        assert [read_json(path), read_json(path)] == [{"dice": 0.5}] * 2
    assert caplog.text.count("has no seal") == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_tables_give_back_every_text(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_csv(path, ("=name", "b"), [{"=name": first, "b": second} for first, second in rows])
        assert [(row["=name"], row["b"]) for row in read_csv(path)] == rows
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(("=", "@", '"=', '"@', "\t"))
            assert all(unicodedata.category(c) not in ("Cc", "Cf") for c in line)


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("a", "b", "c", "d"), [{"a": -0.5, "b": "-0.500000", "c": None, "d": "+1e-3"}])
    assert (tmp_path / "t.csv").read_text() == "a,b,c,d\n-0.5,-0.500000,,+1e-3\n"
    with pytest.raises(ValueError, match="no column"):
        write_csv(tmp_path / "t.csv", ("a",), [{"b": 1}])


@pytest.mark.parametrize("content", ["", "a,b\n1\n", 'a,b\n"1,2\n'])
def test_a_table_that_is_not_whole_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match="not a whole table"):
        read_csv(tmp_path / "t.csv")
    with pytest.raises(UserError, match="no such file"):
        read_csv(tmp_path / "absent.csv")


def test_json_holds_names_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xff")
    write_json(tmp_path / "a.json", {"name": name, "letter": "Ł"})
    assert read_json(tmp_path / "a.json") == {"name": name, "letter": "Ł"}
    assert sha256_of_json({"name": name}) != sha256_of_json({"name": "p"})


def test_long_names_are_written(tmp_path: Path) -> None:
    for letter in ("n", "é", "語"):
        path = tmp_path / (letter * (250 // len(letter.encode())) + ".txt")
        write_csv(path, ("a",), [])
        assert path.is_file()
    with pytest.raises(UserError, match="too long"):
        write_csv(tmp_path / ("n" * 300), ("a",), [])


def test_names_of_patients_come_back_from_tables_of_scores(tmp_path: Path) -> None:
    names = ["=cmd()", "-1+2", "a\u202eb", "plain"]
    write_records(tmp_path / "per_patient.csv", [{"patient_id": name, "dice": -0.25} for name in names])
    rows = read_csv(tmp_path / "per_patient.csv")
    assert [row["patient_id"] for row in rows] == names
    assert {row["dice"] for row in rows} == {"-0.250000"}
