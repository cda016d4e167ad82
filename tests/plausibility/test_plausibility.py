"""What images look like, and what speaks against one."""

import json
from itertools import permutations

import numpy as np
import pytest

from tests.plausibility.heads import NAMES, head
from wcr_med.errors import UserError
from wcr_med.plausibility import ImageStatistics, Look, doubts, fit_statistics, look, nothing_to_see
from wcr_med.preprocess import PreprocessSettings, survey

SETTINGS = PreprocessSettings(height=48, width=48)
N = 24


def seen(image_SHWC: np.ndarray) -> Look:
    return look(image_SHWC, survey(image_SHWC, SETTINGS))


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    return [seen(head(seed)) for seed in range(N)]


@pytest.fixture(scope="module")
def statistics(looks: list[Look]) -> ImageStatistics:
    found = fit_statistics(looks)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(100, 106))
def test_another_such_image_is_sound(statistics: ImageStatistics, seed: int) -> None:
    assert doubts(seen(head(seed)), statistics, NAMES) == ()
    assert doubts(seen(head(seed)), None) == ()


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
def test_swapped_channels_are_noticed(statistics: ImageStatistics, order: tuple[int, ...]) -> None:
    (line,) = doubts(seen(head(100)[..., list(order)]), statistics, NAMES)
    assert line.startswith("channels look swapped")
    # Where the image holds each channel now.
    for channel, name in enumerate(NAMES):
        assert f"{name} in place {order.index(channel) + 1}" in line


def test_noise_is_unlike_the_training_images(statistics: ImageStatistics) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3)).astype(np.uint8)
    assert any("unlike" in line for line in doubts(seen(noise), statistics, NAMES))
    inside = noise * (head(0) > 50)
    assert any("as in noise" in line or "swapped" in line for line in doubts(seen(inside), statistics, NAMES))


def z_scored(image: np.ndarray, *, background: bool) -> np.ndarray:
    air = image < 40
    scaled = (image - image[~air].mean()) / image[~air].std()
    return np.where(air, 0, scaled).astype(np.float32) if background else scaled.astype(np.float32)


def padded(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[:, :6] = changed[:, -6:] = 4095
    changed[:, :, :6] = changed[:, :, -6:] = 4095
    return changed


@pytest.mark.parametrize("known", [True, False], ids=["statistics", "without"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: z_scored(image, background=True), "voxels below zero"),
        (lambda image: z_scored(image, background=False), "voxels below zero"),
        (lambda image: image - 1000, "voxels below zero: "),
        (lambda image: image + 3000, "what surrounds the head is not air"),
        (padded, "voxels at the largest value"),
    ],
)
def test_air_that_is_not_about_zero(statistics: ImageStatistics, change, words: str, known: bool) -> None:
    found = doubts(seen(change(head(100))), statistics if known else None, NAMES)
    assert any(line.startswith(words) for line in found)
    assert any("expected at most" in line for line in found)


def test_the_share_is_told() -> None:
    image = head(100).astype(np.float32)
    image[..., 1] -= 1000
    (line,) = doubts(seen(image), None, NAMES)
    assert line.startswith("voxels below zero: 100% of FLAIR; expected at most 1%")


def test_ringing_of_an_interpolation_is_no_fault() -> None:
    image = head(100).astype(np.float32)
    image[0, :8, :8] = -3
    assert doubts(seen(image), None, NAMES) == ()


@pytest.mark.parametrize("value", [0, 7, -3])
def test_nothing_to_see(value: int) -> None:
    assert nothing_to_see(seen(np.full((3, 20, 20, 2), value, np.int16)))
    assert not nothing_to_see(seen(head(1)))


def test_a_constant_channel_is_a_missing_sequence(looks: list[Look], statistics: ImageStatistics) -> None:
    image = head(100)
    image[..., 2] = 0
    expected = ("holds one constant value: T1c; the sequence is missing",)
    assert doubts(seen(image), None, NAMES) == expected
    assert doubts(seen(image), statistics, NAMES) == expected
    some = fit_statistics([*looks, seen(image)])
    assert doubts(seen(image), some, NAMES) == ()


def test_copies_have_no_order(looks: list[Look], statistics: ImageStatistics) -> None:
    image = head(100)
    image[..., 0] = image[..., 1]
    assert "copies" in doubts(seen(image), statistics, NAMES)[0]
    assert not any("copies" in line for line in doubts(seen(image), fit_statistics([*looks, seen(image)]), NAMES))


def test_the_size_of_an_image_does_not_matter(statistics: ImageStatistics) -> None:
    assert doubts(seen(head(101, n_slices=3, size=120)), statistics, NAMES) == ()
    assert doubts(seen(0.01 * head(101)), statistics, NAMES) == ()
    single = seen(head(101)[:1])
    assert np.isfinite(single.channels_CF).all()


def test_they_survive_a_round_trip_and_are_small(statistics: ImageStatistics) -> None:
    text = json.dumps(statistics.to_dict(), allow_nan=False)
    assert ImageStatistics.from_dict(json.loads(text), source="m.onnx") == statistics
    assert len(text) < 6000


@pytest.mark.parametrize(
    "change",
    [
        {"centre": [0.0]},
        {"deviation": "x"},
        {"covariance": []},
        {"n_images": -1},
        {"n_channels": 10**9},
        {"width": None},
        {"extra": 1},
        {"below_zero": [True, 0, 0]},
        {"at_top": [float("nan")] * 3},
    ],
)
def test_damaged_statistics_are_named(statistics: ImageStatistics, change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"m\.onnx: image statistics are invalid"):
        ImageStatistics.from_dict({**statistics.to_dict(), **change}, source="m.onnx")


def test_few_images_tell_of_magnitude_alone(looks: list[Look]) -> None:
    few = fit_statistics(looks[:4])
    assert few is not None
    assert not few.usable
    assert ImageStatistics.from_dict(few.to_dict(), source="m") == few
    assert doubts(seen(head(100)[..., ::-1]), few, NAMES) == ()
    assert doubts(seen(head(100) - 1000), few, NAMES)
    assert fit_statistics([]) is None


def test_a_network_of_one_channel(looks: list[Look]) -> None:
    one = fit_statistics([seen(head(seed)[..., 1:2]) for seed in range(N)])
    assert doubts(seen(head(100)[..., 1:2]), one, ["FLAIR"]) == ()
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 1)).astype(np.uint8)
    assert doubts(seen(noise), one, ["FLAIR"])
