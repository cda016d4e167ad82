import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wcr_med.config import DataConfig
from wcr_med.data import cache as cache_module
from wcr_med.data import cache_files
from wcr_med.data.cache import SliceCache, prepare_cache
from wcr_med.data.index import PatientEntry, index_patients, load_volume
from wcr_med.data.phantom import make_phantom
from wcr_med.errors import UserError
from wcr_med.preprocess import PreprocessSettings, normalise, prepare, prepare_mask

_SETTINGS = PreprocessSettings(height=32, width=24)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[PatientEntry, ...]:
    root = tmp_path_factory.mktemp("data") / "kaggle_3m"
    make_phantom(root, n_patients=4, seed=0, size=48, slices=(4, 11))
    return index_patients(DataConfig(root=root))


@pytest.fixture
def copied(entries: tuple[PatientEntry, ...], tmp_path: Path) -> tuple[PatientEntry, ...]:
    root = tmp_path / "copy"
    shutil.copytree(entries[0].folder.parent, root)
    return index_patients(DataConfig(root=root))


def _prepare(entries: tuple[PatientEntry, ...], folder: Path, settings: PreprocessSettings = _SETTINGS) -> SliceCache:
    return prepare_cache(entries, settings, folder, workers=2, progress=False)


def _refuse_to_prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(cache_module, "_prepare_patient", refuse)


def test_it_holds_what_preprocessing_gives(entries: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    cache = _prepare(entries, tmp_path)
    assert cache.images_NChw.dtype == np.float16
    assert cache.masks_Nhw.dtype == np.uint8
    for entry in entries:
        volume = load_volume(entry)
        assert volume.mask_SHW is not None
        prepared = prepare(volume.image_SHWC, _SETTINGS)
        rows = cache.rows([entry.patient_id])
        assert cache.slice_numbers_N[rows].tolist() == list(range(1, len(volume.names) + 1))
        expected = normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C)
        np.testing.assert_allclose(cache.images_NChw[rows], expected, atol=3e-3)
        mask_Shw = prepare_mask(volume.mask_SHW, prepared.frame)
        np.testing.assert_array_equal(cache.masks_Nhw[rows], mask_Shw)
        np.testing.assert_array_equal(cache.has_tumour_N[rows], mask_Shw.any(axis=(1, 2)))
    assert len(cache) == sum(len(entry.files) for entry in entries) // 2


def test_a_second_call_opens_what_the_first_prepared(
    entries: tuple[PatientEntry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _prepare(entries, tmp_path)
    _refuse_to_prepare(monkeypatch)
    second = _prepare(entries[::-1], tmp_path)
    assert second.key == first.key
    np.testing.assert_array_equal(first.images_NChw, second.images_NChw)


def test_the_number_of_workers_changes_nothing(entries: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    caches = [
        prepare_cache(entries, _SETTINGS, tmp_path / str(workers), workers=workers, progress=False)
        for workers in (0, 3)
    ]
    np.testing.assert_array_equal(caches[0].images_NChw, caches[1].images_NChw)
    np.testing.assert_array_equal(caches[0].patient_ids_N, caches[1].patient_ids_N)


@pytest.mark.parametrize(
    "settings",
    [replace(_SETTINGS, height=40), replace(_SETTINGS, crop="none"), replace(_SETTINGS, high_percentile=98.0)],
)
def test_other_settings_have_a_cache_of_their_own(
    entries: tuple[PatientEntry, ...], tmp_path: Path, settings: PreprocessSettings
) -> None:
    assert _prepare(entries, tmp_path).key != _prepare(entries, tmp_path, settings).key
    assert len(list(tmp_path.iterdir())) == 2


def test_a_changed_file_and_another_set_of_patients_are_prepared_anew(
    copied: tuple[PatientEntry, ...], tmp_path: Path
) -> None:
    key = _prepare(copied, tmp_path / "cache").key
    assert _prepare(copied[1:], tmp_path / "cache").key != key
    os.utime(copied[0].files[0], ns=(1, 1))
    assert _prepare(copied, tmp_path / "cache").key == key


def test_images_of_the_same_size_and_date_are_told_by_their_content(
    copied: tuple[PatientEntry, ...], tmp_path: Path
) -> None:
    before = _prepare(copied, tmp_path / "cache")
    path = copied[0].files[0]
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # a pixel: TIFFs of the phantom are not compressed
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = _prepare(copied, tmp_path / "cache")
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert after.key != before.key
    assert not np.array_equal(after.images_NChw, before.images_NChw)


@pytest.mark.parametrize("name", ["images.f16", "masks.u8", "index.json"])
def test_one_flipped_bit_of_a_cache_is_noticed(
    entries: tuple[PatientEntry, ...], tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _prepare(entries, tmp_path)
    assert whole.folder is not None
    expected = np.array(whole.images_NChw)
    path = whole.folder / name
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 3] ^= 1
    path.write_bytes(content)
    again = _prepare(entries, tmp_path)
    np.testing.assert_array_equal(again.images_NChw, expected)
    assert f"{whole.folder}: the prepared slices are damaged" in caplog.text
    assert "they are prepared again" in caplog.text


def test_a_cache_is_compared_with_its_checksums_once_in_a_process(
    entries: tuple[PatientEntry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepare(entries, tmp_path)
    _prepare(entries, tmp_path)
    monkeypatch.setattr(cache_files, "_checksum", None)  # would fail if it were called
    _prepare(entries, tmp_path)


def test_swapped_roles_of_files_have_another_key(entries: tuple[PatientEntry, ...]) -> None:
    first, second = entries[0].files[:2]
    one = replace(entries[0], channels=(first, second))
    other = replace(entries[0], channels=(second, first))
    assert cache_module._key([one], _SETTINGS) != cache_module._key([other], _SETTINGS)


@pytest.mark.parametrize("damage", ["truncate", "remove", "no index", "other key", "text", "list", "short column"])
def test_a_damaged_cache_is_prepared_again(entries: tuple[PatientEntry, ...], tmp_path: Path, damage: str) -> None:
    expected = np.array(_prepare(entries, tmp_path).images_NChw)
    (folder,) = tmp_path.iterdir()
    index = folder / "index.json"
    document = json.loads(index.read_text())
    match damage:
        case "truncate":
            os.truncate(folder / "images.f16", 1000)
        case "remove":
            (folder / "masks.u8").unlink()
        case "no index":
            index.unlink()
        case "other key":
            index.write_text(json.dumps({**document, "key": "0" * 64}))
        case "text":
            index.write_text("{")
        case "list":
            index.write_text("[]")
        case "short column":
            index.write_text(json.dumps({**document, "has_tumour": [True]}))
    np.testing.assert_array_equal(_prepare(entries, tmp_path).images_NChw, expected)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_bad_file_leaves_nothing_behind(copied: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    bad = copied[2].files[0]
    bad.write_bytes(b"no image")
    with pytest.raises(UserError, match=bad.name):
        _prepare(copied, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_vanished_is_named(copied: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    copied[0].files[0].unlink()
    with pytest.raises(UserError, match=copied[0].files[0].name):
        _prepare(copied, tmp_path / "cache")


def test_no_patients_no_masks_and_unequal_channels_are_refused(
    entries: tuple[PatientEntry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"data\.root"):
        _prepare((), tmp_path)
    volume = load_volume(entries[0])
    monkeypatch.setattr(cache_module, "load_volume", lambda *_, **__: replace(volume, mask_SHW=None))
    with pytest.raises(UserError, match=f"{entries[0].patient_id} has no masks"):
        _prepare(entries, tmp_path)
    volumes = iter([volume, replace(volume, image_SHWC=volume.image_SHWC[..., :2])])
    monkeypatch.setattr(cache_module, "load_volume", lambda *_, **__: next(volumes))
    with pytest.raises(UserError, match="2 channels"):
        prepare_cache(entries[:2], _SETTINGS, tmp_path, workers=1, progress=False)


def test_names_without_a_number_count_from_one(
    entries: tuple[PatientEntry, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = load_volume(entries[0])
    names = tuple("abcdefghijklmnop"[: len(volume.names)])
    monkeypatch.setattr(cache_module, "load_volume", lambda *_, **__: replace(volume, names=names))
    cache = _prepare(entries[:1], tmp_path)
    assert cache.slice_numbers_N.tolist() == list(range(1, len(names) + 1))


def test_rows_follow_the_order_of_patients(entries: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    cache = _prepare(entries, tmp_path)
    wanted = [entries[2].patient_id, entries[0].patient_id]
    assert list(dict.fromkeys(cache.patient_ids_N[cache.rows(wanted)].tolist())) == wanted
    assert cache.rows([]).dtype == np.int64
    assert len(cache.rows([])) == 0
    with pytest.raises(UserError, match="TCGA_XX_0000"):
        cache.rows(["TCGA_XX_0000"])


def test_a_pickled_cache_maps_the_files_again(entries: tuple[PatientEntry, ...], tmp_path: Path) -> None:
    cache = _prepare(entries, tmp_path)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).images_NChw, cache.images_NChw)
    in_memory = replace(cache, images_NChw=np.array(cache.images_NChw), folder=None)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(in_memory)).masks_Nhw, cache.masks_Nhw)


@pytest.mark.lgg
def test_a_real_patient_keeps_its_tumour_on_a_small_grid(lgg_root: Path, tmp_path: Path) -> None:
    entries = index_patients(DataConfig(root=lgg_root))[:2]
    cache = _prepare(entries, tmp_path, PreprocessSettings(height=64, width=64))
    for entry in entries:
        mask_SHW = load_volume(entry).mask_SHW
        assert mask_SHW is not None
        assert (
            abs(int(cache.has_tumour_N[cache.rows([entry.patient_id])].sum()) - int(mask_SHW.any(axis=(1, 2)).sum()))
            <= 2
        )
