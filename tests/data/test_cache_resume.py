"""Preparing is killed, damaged, out of space, or done by two at once: the slices are the same."""

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from wcr_med.config import DataConfig
from wcr_med.data import cache as cache_module
from wcr_med.data.cache import SliceCache, prepare_cache
from wcr_med.data.cache_files import GrowingCache, PatientSlices
from wcr_med.data.index import PatientEntry, index_patients
from wcr_med.data.parallel import map_ahead
from wcr_med.data.phantom import make_phantom
from wcr_med.errors import UserError
from wcr_med.preprocess import PreprocessSettings

_SETTINGS = PreprocessSettings(height=32, width=24)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[PatientEntry, ...]:
    root = tmp_path_factory.mktemp("data") / "kaggle_3m"
    make_phantom(root, n_patients=5, seed=0, size=48, slices=(4, 11))
    return index_patients(DataConfig(root=root))


@pytest.fixture(scope="module")
def whole(entries: tuple[PatientEntry, ...], tmp_path_factory: pytest.TempPathFactory) -> SliceCache:
    return _prepare(entries, tmp_path_factory.mktemp("whole"))


def _prepare(entries: tuple[PatientEntry, ...], folder: Path) -> SliceCache:
    return prepare_cache(entries, _SETTINGS, folder, workers=1, progress=False)


def _assert_same(cache: SliceCache, expected: SliceCache) -> None:
    assert cache.key == expected.key
    for name in ("images_NChw", "masks_Nhw", "patient_ids_N", "slice_numbers_N", "has_tumour_N"):
        np.testing.assert_array_equal(getattr(cache, name), getattr(expected, name), err_msg=name)


def _partial(folder: Path) -> Path:
    (found,) = (path for path in folder.iterdir() if path.name.startswith(".partial-"))
    return found


def _lines(folder: Path) -> list[bytes]:
    return (_partial(folder) / "journal.jsonl").read_bytes().splitlines()


def _stop_after(monkeypatch: pytest.MonkeyPatch, n_patients: int, error: BaseException) -> None:
    append = GrowingCache.append

    def stopping(growing: GrowingCache, patient: PatientSlices) -> None:
        if len(growing.patient_ids) == n_patients:
            raise error
        append(growing, patient)

    monkeypatch.setattr(GrowingCache, "append", stopping)


def _interrupt(entries: tuple[PatientEntry, ...], folder: Path, n_patients: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(patch, n_patients, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            _prepare(entries, folder)


def _count_prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    prepared: list[str] = []
    original = cache_module._prepare_patient

    def counting(entry: PatientEntry, settings: PreprocessSettings) -> PatientSlices:
        prepared.append(entry.patient_id)
        return original(entry, settings)

    monkeypatch.setattr(cache_module, "_prepare_patient", counting)
    return prepared


@pytest.mark.parametrize("n_patients", [0, 1, 4])
def test_it_goes_on_from_the_patients_that_are_whole(
    entries: tuple[PatientEntry, ...],
    whole: SliceCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_patients: int,
) -> None:
    _interrupt(entries, tmp_path, n_patients)
    prepared = _count_prepared(monkeypatch)
    _assert_same(_prepare(entries, tmp_path), whole)
    assert prepared == sorted(entry.patient_id for entry in entries)[n_patients:]
    assert [path.name for path in tmp_path.iterdir()] == [whole.key[:16]]
    assert sorted(path.name for path in (tmp_path / whole.key[:16]).iterdir()) == [
        "images.f16",
        "index.json",
        "masks.u8",
    ]


@pytest.mark.parametrize(
    ("damage", "still_whole"),
    [
        ("torn line", 2),
        ("line of another version", 2),
        ("torn data", 2),
        ("flipped bit", 1),
        ("flipped mask", 1),
        ("bytes behind", 3),
        ("no masks", 0),
        ("no journal", 0),
        ("other key", 0),
    ],
)
def test_what_is_damaged_is_prepared_again(
    entries: tuple[PatientEntry, ...],
    whole: SliceCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    still_whole: int,
) -> None:
    _interrupt(entries, tmp_path, 3)
    partial, lines = _partial(tmp_path), _lines(tmp_path)
    images, masks, journal = partial / "images.f16", partial / "masks.u8", partial / "journal.jsonl"
    second = json.loads(lines[1])
    height, width = second["shape_Chw"][1:]
    inside_second = len(second["slice_numbers"]) * height * width + 5
    match damage:
        case "torn line":
            journal.write_bytes(b"\n".join(lines)[:-20])
        case "line of another version":
            journal.write_bytes(b"\n".join([*lines[:3], b'{"patient": 1}\n']))
        case "torn data":
            os.truncate(images, images.stat().st_size - 10)
        case "flipped bit":
            _flip(images, 2 * second["shape_Chw"][0] * inside_second)
        case "flipped mask":
            _flip(masks, inside_second)
        case "bytes behind":
            images.write_bytes(images.read_bytes() + b"half a patient")
        case "no masks":
            masks.unlink()
        case "no journal":
            journal.unlink()
        case "other key":
            journal.write_bytes(b"\n".join([b'{"key": "0"}', *lines[1:]]))
    prepared = _count_prepared(monkeypatch)
    _assert_same(_prepare(entries, tmp_path), whole)
    assert len(prepared) == len(entries) - still_whole


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def _prepare_slowly(entries: tuple[PatientEntry, ...], folder: Path) -> None:
    append = GrowingCache.append

    def slow(growing: GrowingCache, patient: PatientSlices) -> None:
        append(growing, patient)
        time.sleep(0.2)

    GrowingCache.append = slow  # type: ignore[method-assign]
    _prepare(entries, folder)


def test_a_killed_process_loses_no_patient_and_leaves_no_lock(
    entries: tuple[PatientEntry, ...], whole: SliceCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context("fork").Process(target=_prepare_slowly, args=(entries, tmp_path))
    process.start()
    while not list(tmp_path.glob(".partial-*/journal.jsonl")) or len(_lines(tmp_path)) < 3:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    prepared = _count_prepared(monkeypatch)
    _assert_same(_prepare(entries, tmp_path), whole)
    assert 0 < len(prepared) <= len(entries) - 2


def test_of_two_processes_one_prepares_and_the_other_waits(
    entries: tuple[PatientEntry, ...],
    whole: SliceCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    process = multiprocessing.get_context("fork").Process(target=_prepare_slowly, args=(entries, tmp_path))
    process.start()
    while not list(tmp_path.glob(".partial-*/journal.jsonl")):
        time.sleep(0.01)
    prepared = _count_prepared(monkeypatch)
    _assert_same(_prepare(entries, tmp_path), whole)
    process.join()
    assert process.exitcode == 0
    assert prepared == []
    assert "waiting for it" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [whole.key[:16]]


def test_a_full_disk_keeps_what_is_prepared_and_says_how_much_is_missing(
    entries: tuple[PatientEntry, ...], whole: SliceCache, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(patch, 2, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(UserError, match=r"full after 2 of 5 patients; free about .* GB .*data\.cache"):
            _prepare(entries, tmp_path)
    assert len(_lines(tmp_path)) == 3
    _assert_same(_prepare(entries, tmp_path), whole)


def test_a_disk_that_will_not_hold_the_slices_is_told_after_the_first_patient(
    entries: tuple[PatientEntry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = cache_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=10))
    _prepare(entries, tmp_path)
    (line,) = caplog.messages
    assert "data.cache" in line


def test_patients_with_slices_of_another_shape_are_refused(tmp_path: Path) -> None:
    growing = GrowingCache(tmp_path / "partial", "key")
    for width in (4, 5):
        patient = PatientSlices(
            patient_id=str(width),
            images_SChw=np.zeros((2, 3, 4, width), dtype=np.float16),
            masks_Shw=np.zeros((2, 4, width), dtype=np.uint8),
            slice_numbers=[1, 2],
        )
        if width == 4:
            growing.append(patient)
        else:
            with pytest.raises(ValueError, match="behind slices"):
                growing.append(patient)
    assert growing.patient_ids == ("4",)
    growing.close()


def test_slices_of_a_patient_that_do_not_stand_together_are_refused(whole: SliceCache) -> None:
    names_N = np.array(whole.patient_ids_N)
    names_N[-1] = names_N[0]
    with pytest.raises(ValueError, match="do not stand together"):
        SliceCache(
            images_NChw=whole.images_NChw,
            masks_Nhw=whole.masks_Nhw,
            patient_ids_N=names_N,
            slice_numbers_N=whole.slice_numbers_N,
            has_tumour_N=whole.has_tumour_N,
            key="",
        )


def test_results_wait_in_order_and_in_small_number() -> None:
    started, lock = [], threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number * number

    results = map_ahead(work, range(100), workers=3)
    for number in range(100):
        assert next(results) == number * number
        time.sleep(0.001)
        assert len(started) <= number + 1 + 5  # those taken, and at most workers + 2
    assert next(results, None) is None
    assert list(map_ahead(work, [], workers=3)) == []
