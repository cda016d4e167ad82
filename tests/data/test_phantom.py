import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wcr_med.config import DataConfig
from wcr_med.data.index import PatientEntry, index_patients, load_volume
from wcr_med.data.phantom import is_phantom, make_phantom
from wcr_med.data.phantom_anatomy import draw_head, smooth_noise
from wcr_med.errors import UserError


@pytest.fixture(scope="module")
def entries(phantom_root: Path) -> tuple[PatientEntry, ...]:
    return index_patients(DataConfig(root=phantom_root))


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_it_reads_like_the_real_data_set(entries: tuple[PatientEntry, ...]) -> None:
    assert len(entries) == 12
    for entry in entries:
        volume = load_volume(entry)
        assert 8 <= len(volume.names) <= 12
        assert volume.image_SHWC.shape[1:] == (64, 64, 3)
        assert volume.image_SHWC.dtype == np.uint8


def test_every_institution_has_about_its_share(entries: tuple[PatientEntry, ...]) -> None:
    codes = [entry.institution for entry in entries]
    assert {code: codes.count(code) for code in sorted(set(codes))} == {"CS": 2, "DU": 5, "FG": 1, "HT": 4}


def test_the_ends_hold_no_tumour_and_the_middle_does(entries: tuple[PatientEntry, ...]) -> None:
    for entry in entries:
        mask_SHW = load_volume(entry).mask_SHW
        assert mask_SHW is not None
        assert not mask_SHW[[0, -1]].any()
        assert mask_SHW.any()


def test_some_patients_lack_a_sequence_and_show_flair_in_its_place(entries: tuple[PatientEntry, ...]) -> None:
    images = [load_volume(entry).image_SHWC for entry in entries]
    assert sum(np.array_equal(image[..., 1], image[..., 2]) for image in images) == 1


def test_both_kinds_of_missing_sequences_and_a_patient_without_tumour_in_a_larger_set(tmp_path: Path) -> None:
    root = make_phantom(tmp_path / "large", n_patients=20, seed=1, size=32, slices=(4, 4))
    volumes = [load_volume(entry) for entry in index_patients(DataConfig(root=root))]
    no_post = [np.array_equal(v.image_SHWC[..., 1], v.image_SHWC[..., 2]) for v in volumes]
    no_pre = [np.array_equal(v.image_SHWC[..., 1], v.image_SHWC[..., 0]) for v in volumes]
    assert sum(no_post) == 2
    assert sum(no_pre) == 1
    assert sum(v.mask_SHW is not None and not v.mask_SHW.any() for v in volumes) == 1


def test_the_lesion_is_bright_in_flair_and_dark_before_contrast() -> None:
    contrast = []
    for seed in range(12):
        head = draw_head(np.random.default_rng(seed), 10, 64, head_size=0.8, with_lesion=True)
        lesion = head.mask_SHW.astype(bool)
        # A shell a few pixels away, still in the brain most of the time.
        ring = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion, iterations=2)
        contrast.append([np.median(channel[lesion]) - np.median(channel[ring]) for channel in head.tissue_CSHW[:2]])
    pre, flair = np.median(contrast, axis=0)
    assert pre < -0.03
    assert flair > 0.1


def test_brightness_alone_does_not_find_the_lesion(entries: tuple[PatientEntry, ...]) -> None:
    dice_by_threshold = np.zeros(21)
    for entry in entries:
        volume = load_volume(entry)
        assert volume.mask_SHW is not None
        for place, threshold in enumerate(range(40, 250, 10)):
            found = volume.image_SHWC[..., 1] > threshold
            overlap = (found & (volume.mask_SHW == 1)).sum()
            dice_by_threshold[place] += 2 * overlap / (found.sum() + volume.mask_SHW.sum()) / len(entries)
    assert dice_by_threshold.max() < 0.4


def test_no_head_without_a_wish_for_a_lesion_has_one_and_the_others_do() -> None:
    rng = np.random.default_rng(0)
    assert not draw_head(rng, 3, 32, head_size=0.8, with_lesion=False).mask_SHW.any()
    for seed in range(30):
        head = draw_head(np.random.default_rng(seed), 6, 48, head_size=0.75, with_lesion=True)
        assert head.mask_SHW.any()
        assert not head.mask_SHW[[0, -1]].any()
        assert head.tissue_CSHW.min() >= 0


def test_institutions_differ_in_brightness(entries: tuple[PatientEntry, ...]) -> None:
    level: dict[str, list[float]] = {}
    for entry in entries:
        flair = load_volume(entry).image_SHWC[..., 1]
        level.setdefault(entry.institution, []).append(float(np.percentile(flair[flair > 20], 50)))
    means = [np.mean(values) for values in level.values()]
    assert max(means) > 1.3 * min(means)


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path: Path) -> None:
    first, again, other = (
        _contents(make_phantom(tmp_path / name, n_patients=2, seed=seed, size=32, slices=(3, 4)))
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    assert first == again
    assert first != other


def test_a_seed_gives_the_same_heads_at_any_size() -> None:
    small, large = (draw_head(np.random.default_rng(3), 6, size, head_size=0.8, with_lesion=True) for size in (64, 128))
    shrunk_CSHW = large.tissue_CSHW.reshape(3, 6, 64, 2, 64, 2).mean(axis=(3, 5))
    assert np.corrcoef(shrunk_CSHW.ravel(), small.tissue_CSHW.ravel())[0, 1] > 0.98


def test_the_table_lists_every_patient_and_the_columns_of_the_real_one(phantom_root: Path) -> None:
    with (phantom_root / "data.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Patient"] for row in rows] == sorted(
        (folder.name.rsplit("_", 1)[0] for folder in phantom_root.iterdir() if folder.is_dir()),
        key=lambda name: name[-4:],
    )
    assert {"gender", "age_at_initial_pathologic", "histological_type", "death01"} <= set(rows[0])


def test_it_can_be_told_from_images_of_patients(phantom_root: Path) -> None:
    assert is_phantom(phantom_root)
    assert not is_phantom(next(path for path in phantom_root.iterdir() if path.is_dir()))


def test_masks_are_0_and_255(phantom_root: Path) -> None:
    seen: set[int] = set()
    for path in phantom_root.rglob("*_mask.tif"):
        seen.update(np.unique(np.asarray(Image.open(path))).tolist())
    assert seen == {0, 255}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_patients": 0}, "0 patients"),
        ({"n_patients": 10_000}, "10000 patients"),
        ({"size": 16}, "16 x 16"),
        ({"slices": (2, 5)}, "2 to 5 slices"),
        ({"slices": (9, 5)}, "9 to 5 slices"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        make_phantom(tmp_path / "root", **{"n_patients": 1, "seed": 0, "size": 32, **arguments})
    assert not (tmp_path / "root").exists()


def test_a_folder_with_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        make_phantom(tmp_path, n_patients=1, seed=0)
    with pytest.raises(UserError, match="precious"):
        make_phantom(tmp_path / "precious.txt", n_patients=1, seed=0)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_smooth_noise_has_unit_spread_and_is_smooth() -> None:
    field = np.stack([smooth_noise(np.random.default_rng(seed), (4, 6, 6), (8, 64, 64)) for seed in range(20)])
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(field, axis=2)).max() < 1
