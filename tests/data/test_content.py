"""The hash of a data set's content."""

import os
import shutil
from pathlib import Path

import pytest

from wcr_med.config import DataConfig
from wcr_med.data.content import content_hash
from wcr_med.data.index import PatientEntry, index_patients
from wcr_med.errors import UserError


def entries(root: Path) -> tuple[PatientEntry, ...]:
    return index_patients(DataConfig(root=root))


def test_it_is_of_content_not_of_place_or_date(phantom_root: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_root, tmp_path / "moved")
    for path in (tmp_path / "moved").rglob("*.tif"):
        os.utime(path, (0, 0))
    assert content_hash(entries(tmp_path / "moved")) == content_hash(entries(phantom_root))


def test_a_changed_mask_changes_it(phantom_root: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_root, tmp_path / "copy")
    before = content_hash(entries(tmp_path / "copy"))
    mask = sorted((tmp_path / "copy").rglob("*_mask.tif"))[0]
    data = bytearray(mask.read_bytes())
    data[-1] ^= 0xFF
    mask.write_bytes(data)
    assert content_hash(entries(tmp_path / "copy")) != before


def test_a_file_that_went_away_is_named(phantom_root: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_root, tmp_path / "copy")
    found = entries(tmp_path / "copy")
    found[0].files[0].unlink()
    with pytest.raises(UserError, match=found[0].files[0].name):
        content_hash(found)
