"""Files are whole or absent."""

import errno
import logging
import os
from pathlib import Path

import pytest

from wcr_med.errors import UserError
from wcr_med.files import (
    atomic_folder,
    atomic_path,
    read_json,
    sha256_of_file,
    sha256_of_json,
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


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "set"
    for text in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / text).write_text(text)
    assert names(target) == ["two"]
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "three").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == ["set"]
    assert names(target) == ["two"]


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
