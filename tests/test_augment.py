import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.augment import build_augmenter
from wcr_med.config import AugmentConfig

Array = npt.NDArray[np.float32]
_STILL = AugmentConfig(flip=False, rotate_degrees=0.0, scale=0.0, shift=0.0, elastic=0.0, intensity=0.0, noise=0.0)


def _slice(rows: int = 40, columns: int = 48, n_channels: int = 3) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Air at -2, a head at 0, and a lesion at 3 that is also the mask, off the middle."""
    image_hwC = np.full((rows, columns, n_channels), -2, dtype=np.float32)
    image_hwC[6:-6, 6:-6] = 0
    mask_hw = np.zeros((rows, columns), dtype=np.uint8)
    mask_hw[12:22, 10:20] = 1
    image_hwC[mask_hw == 1] = 3
    return image_hwC, mask_hw


def _changed(**fields: float) -> AugmentConfig:
    return _STILL.model_copy(update=fields)


def test_disabled_it_is_the_identity() -> None:
    image_hwC, mask_hw = _slice()
    found = build_augmenter(AugmentConfig(enabled=False))(image_hwC, mask_hw, 3)
    assert found[0] is image_hwC
    assert found[1] is mask_hw


def test_with_every_change_at_zero_nothing_changes() -> None:
    image_hwC, mask_hw = _slice()
    found_image, found_mask = build_augmenter(_STILL)(image_hwC, mask_hw, 3)
    np.testing.assert_allclose(found_image, image_hwC, atol=1e-6)
    np.testing.assert_array_equal(found_mask, mask_hw)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(16, 50), st.integers(16, 50), st.integers(1, 5)),
    elastic=st.sampled_from([0.0, 1.0]),
)
def test_shapes_and_types_stay_and_masks_stay_binary(seed: int, shape: tuple[int, int, int], elastic: float) -> None:
    rng = np.random.default_rng(seed)
    image_hwC = rng.standard_normal(shape).astype(np.float32)
    mask_hw = (rng.random(shape[:2]) > 0.5).astype(np.uint8)
    augment = build_augmenter(AugmentConfig(elastic=elastic))
    found_image, found_mask = augment(image_hwC, mask_hw, seed)
    assert (found_image.shape, found_image.dtype) == (shape, np.float32)
    assert (found_mask.shape, found_mask.dtype) == (shape[:2], np.uint8)
    assert set(np.unique(found_mask)) <= {0, 1}
    assert np.isfinite(found_image).all()


def test_equal_seeds_give_equal_slices_whatever_came_before() -> None:
    image_hwC, mask_hw = _slice()
    config = AugmentConfig(elastic=0.5)
    first, second = build_augmenter(config), build_augmenter(config)
    for seed in range(10):
        first(image_hwC, mask_hw, seed + 100)
        np.random.seed(seed)  # noqa: NPY002 - the global state must not matter
        expected = second(image_hwC, mask_hw, seed)
        for found, wanted in zip(first(image_hwC, mask_hw, seed), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_other_seeds_give_other_slices() -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(AugmentConfig())
    assert len({augment(image_hwC, mask_hw, seed)[0].tobytes() for seed in range(20)}) == 20


def test_the_arguments_are_not_changed() -> None:
    image_hwC, mask_hw = _slice()
    image_hwC.setflags(write=False)
    mask_hw.setflags(write=False)
    for config in (AugmentConfig(elastic=1.0), _changed(noise=1.0, intensity=1.0)):
        build_augmenter(config)(image_hwC, mask_hw, 0)


@pytest.mark.parametrize(
    "config",
    [
        _changed(rotate_degrees=30.0),
        _changed(scale=0.3),
        _changed(shift=0.2),
        _changed(elastic=1.0),
        _changed(flip=True),
    ],
)
def test_image_and_mask_move_together(config: AugmentConfig) -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(config)
    moved = 0
    for seed in range(10):
        found_image, found_mask = augment(image_hwC, mask_hw, seed)
        # The lesion alone is brighter than halfway between 0 and 3; its border is interpolated.
        lesion = found_image[..., 1] > 1.5
        assert 2 * (lesion & (found_mask == 1)).sum() / (lesion.sum() + found_mask.sum()) > 0.9
        moved += not np.array_equal(found_mask, mask_hw)
    assert moved >= 2


def test_a_flip_mirrors_left_and_right_half_of_the_time() -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(_changed(flip=True))
    masks = [augment(image_hwC, mask_hw, seed)[1] for seed in range(200)]
    mirrored = [np.array_equal(mask, mask_hw[:, ::-1]) for mask in masks]
    assert all(np.array_equal(mask, mask_hw) or flipped for mask, flipped in zip(masks, mirrored, strict=True))
    assert 60 < sum(mirrored) < 140


def test_what_moves_in_from_outside_is_air() -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(_changed(shift=0.4, rotate_degrees=45.0, elastic=1.0))
    for seed in range(10):
        found_image, _ = augment(image_hwC, mask_hw, seed)
        assert found_image.min() == pytest.approx(-2, abs=1e-5)


def test_intensity_is_a_gain_and_an_offset_within_reach() -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(_changed(intensity=0.2))
    gains = []
    for seed in range(50):
        found, found_mask = augment(image_hwC, mask_hw, seed)
        np.testing.assert_array_equal(found_mask, mask_hw)
        for channel in range(3):
            gain, offset = np.polyfit(image_hwC[..., channel].ravel(), found[..., channel].ravel(), 1)
            assert 0.8 - 1e-4 <= gain <= 1.2 + 1e-4
            assert abs(offset) <= 0.2 + 1e-4
            gains.append(gain)
    assert np.std(gains) > 0.08


def test_noise_has_mean_zero_and_at_most_the_wanted_spread() -> None:
    image_hwC, mask_hw = _slice(64, 64)
    augment = build_augmenter(_changed(noise=0.5))
    spreads = []
    for seed in range(50):
        noise = augment(image_hwC, mask_hw, seed)[0] - image_hwC
        spreads.append(noise.std())
        assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(noise.size) + 1e-6
    assert max(spreads) < 0.52
    assert 0.15 < np.mean(spreads) < 0.35


def test_it_can_be_pickled() -> None:
    image_hwC, mask_hw = _slice()
    augment = build_augmenter(AugmentConfig())
    expected = augment(image_hwC, mask_hw, 4)
    found = pickle.loads(pickle.dumps(augment))(image_hwC, mask_hw, 4)
    np.testing.assert_array_equal(found[0], expected[0])


def test_no_version_is_asked_for_over_the_network() -> None:
    program = (
        "import numpy as np, socket\n"
        "def refuse(*_, **__): raise SystemExit('the network was asked')\n"
        "socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from wcr_med.augment import build_augmenter\n"
        "from wcr_med.config import AugmentConfig\n"
        "build_augmenter(AugmentConfig())(np.zeros((32, 32, 3), np.float32), np.zeros((32, 32), np.uint8), 0)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def _through_compose(
    config: AugmentConfig, image_hwC: Array, mask_hw: npt.NDArray[np.uint8], seed: int
) -> tuple[Array, Array]:
    """The same as a pipeline of albumentations, drawn and applied in one: what augmentation is defined by."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as album

    rng = np.random.default_rng(seed)
    air_C = image_hwC[::4, ::4].min(axis=(0, 1))
    image_hwC = image_hwC - air_C
    if rng.random() < config.elastic:
        rows, columns = mask_hw.shape
        coarse = rng.standard_normal((6, 6, 2), dtype=np.float32)
        source = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
        source *= np.array([columns, rows], dtype=np.float32) * np.float32(0.02)
        source[..., 0] += np.arange(columns, dtype=np.float32)
        source[..., 1] += np.arange(rows, dtype=np.float32)[:, None]
        image_hwC = cv2.remap(image_hwC, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        mask_hw = cv2.remap(mask_hw, source, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    affine = album.Affine(
        rotate=(-config.rotate_degrees, config.rotate_degrees),
        scale=(1 - config.scale, 1 + config.scale),
        keep_ratio=True,
        translate_percent=(-config.shift, config.shift),
        p=1.0,
    )
    pipeline = album.Compose([album.HorizontalFlip(p=0.5), affine])
    pipeline.set_random_seed(int(rng.integers(2**32)))
    moved = pipeline(image=image_hwC, mask=mask_hw)
    gain_C = rng.uniform(1 - config.intensity, 1 + config.intensity, (3,)).astype(np.float32)
    offset_C = rng.uniform(-config.intensity, config.intensity, (3,)).astype(np.float32)
    changed = moved["image"] * gain_C + (gain_C * air_C + offset_C)
    bank = np.random.default_rng(0).standard_normal(4 * changed.size, dtype=np.float32)
    start = int(rng.integers(len(bank) - changed.size))
    sigma = np.float32(rng.uniform(0, config.noise))
    return changed + sigma * bank[start : start + changed.size].reshape(changed.shape), moved["mask"]


def test_drawing_first_and_applying_then_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    image_hwC, mask_hw = _slice(64, 48)
    image_hwC = image_hwC + rng.standard_normal(image_hwC.shape).astype(np.float32)
    config = AugmentConfig(elastic=0.5)
    augment = build_augmenter(config)
    for seed in range(30):
        found, expected = augment(image_hwC, mask_hw, seed), _through_compose(config, image_hwC, mask_hw, seed)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("n_channels", [2, 3, 6])
def test_the_layout_in_memory_does_not_matter(n_channels: int) -> None:
    image_hwC, mask_hw = _slice(n_channels=n_channels)
    channels_first_hwC = np.ascontiguousarray(image_hwC.transpose(2, 0, 1)).transpose(1, 2, 0)
    augment = build_augmenter(AugmentConfig())
    for seed in range(10):
        for one, other in zip(
            augment(image_hwC, mask_hw, seed), augment(channels_first_hwC, mask_hw, seed), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_a_channel_is_moved_alike_whatever_stands_beside_it() -> None:
    image_hwC, mask_hw = _slice(n_channels=1)
    augment = build_augmenter(AugmentConfig(elastic=0, intensity=0, noise=0))
    for seed in range(10):
        (three_hwC, _), (six_hwC, _) = (augment(np.repeat(image_hwC, n, axis=2), mask_hw, seed) for n in (3, 6))
        np.testing.assert_array_equal(six_hwC[..., :4], np.repeat(six_hwC[..., :1], 4, axis=2))
        np.testing.assert_allclose(six_hwC[..., 3:], three_hwC, atol=0.2)
