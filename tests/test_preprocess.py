"""Raw volume -> network input -> the volume's own grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import set_flush_denormal

from wcr_med.errors import UserError
from wcr_med.preprocess import (
    Frame,
    PreprocessSettings,
    normalise,
    predict_volume,
    prepare,
    prepare_mask,
)


@pytest.fixture(autouse=True)
def tiny_numbers() -> None:
    """ONNX Runtime and training flush them to zero for the whole thread, and hypothesis draws them."""
    set_flush_denormal(False)


def head(n_slices: int = 3, size: int = 64, channels: int = 3, offset: int = 0, seed: int = 0) -> np.ndarray:
    """A bright disc with texture on a black ground, uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    disc = (rows - size / 2 - offset) ** 2 + (columns - size / 2 + offset) ** 2 < (size / 4) ** 2
    texture = rng.integers(80, 200, size=(n_slices, size, size, channels))
    return (texture * disc[None, :, :, None]).astype(np.uint8)


@pytest.fixture
def grid() -> PreprocessSettings:
    return PreprocessSettings(height=32, width=32)


def identity_frame(size: int) -> Frame:
    return Frame(
        native_shape=(size, size), network_shape=(size, size), top=0.0, left=0.0, rows=float(size), columns=float(size)
    )


def test_a_frame_of_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).random((2, 16, 16), dtype=np.float32)
    frame = identity_frame(16)
    np.testing.assert_allclose(frame.to_network(image), image, atol=1e-6)
    np.testing.assert_allclose(frame.to_native(image), image, atol=1e-6)


def test_halving_a_constant_keeps_it_and_halving_a_ramp_keeps_its_mean() -> None:
    frame = Frame(native_shape=(32, 32), network_shape=(16, 16), top=0.0, left=0.0, rows=32.0, columns=32.0)
    np.testing.assert_allclose(frame.to_network(np.full((1, 32, 32), 7.0)), 7.0, atol=1e-5)
    ramp = np.broadcast_to(np.arange(32.0), (1, 32, 32))
    expected = np.broadcast_to(np.arange(4, 12) * 2 + 0.5, (16, 8))
    np.testing.assert_allclose(frame.to_network(ramp)[0, :, 4:12], expected, atol=1e-4)


def test_a_box_beyond_the_image_is_filled_with_zero() -> None:
    frame = Frame(native_shape=(10, 10), network_shape=(20, 20), top=-5.0, left=-5.0, rows=20.0, columns=20.0)
    out = frame.to_network(np.ones((1, 10, 10)))
    assert out[0, :5].max() == 0
    assert out[0, 15:].max() == 0
    np.testing.assert_allclose(out[0, 5:15, 5:15], 1.0)


def test_round_trip_keeps_a_mask(grid: PreprocessSettings) -> None:
    image = head(offset=6)
    mask = np.zeros(image.shape[:3], np.uint8)
    mask[1, 30:46, 22:34] = 1
    prepared = prepare(image, grid)
    back = prepared.frame.to_native(prepare_mask(mask, prepared.frame)) >= 0.5
    overlap = 2 * (back & (mask > 0)).sum() / (back.sum() + mask.sum())
    assert overlap > 0.9


def test_the_crop_centres_the_head(grid: PreprocessSettings) -> None:
    prepared = prepare(head(offset=8), grid)
    centre_row = prepared.frame.top + prepared.frame.rows / 2
    centre_column = prepared.frame.left + prepared.frame.columns / 2
    assert centre_row == pytest.approx(40, abs=1)
    assert centre_column == pytest.approx(24, abs=1)
    assert 30 < prepared.frame.rows < 40  # the disc is 32 pixels wide


def test_no_crop_takes_the_whole_slice() -> None:
    prepared = prepare(head(), PreprocessSettings(height=32, width=32, crop="none"))
    assert (prepared.frame.top, prepared.frame.left, prepared.frame.rows) == (0.0, 0.0, 64.0)


def test_a_wide_image_is_not_stretched() -> None:
    image = np.full((1, 20, 60, 1), 100, np.uint8)
    frame = prepare(image, PreprocessSettings(height=32, width=32, crop="none")).frame
    assert frame.rows == frame.columns == 60
    assert frame.top == -20


def test_statistics_ignore_air_and_outliers(grid: PreprocessSettings) -> None:
    image = head(n_slices=6)
    plain = prepare(image, grid)
    spiked = image.copy()
    spiked[0, 32, 32] = 255
    padded = np.pad(image, ((0, 0), (40, 40), (40, 40), (0, 0)))
    np.testing.assert_allclose(prepare(spiked, grid).spread_C, plain.spread_C, rtol=0.01)
    np.testing.assert_allclose(prepare(padded, grid).centre_C, plain.centre_C, rtol=0.02)


def test_intensity_scale_and_offset_do_not_change_the_input(grid: PreprocessSettings) -> None:
    image = head().astype(np.float32)
    first, second = prepare(image, grid), prepare(image * 3.5, grid)
    np.testing.assert_allclose(
        normalise(first.image_SChw, first.centre_C, first.spread_C),
        normalise(second.image_SChw, second.centre_C, second.spread_C),
        atol=1e-3,
    )


@pytest.mark.parametrize("fill", [0, 130])
def test_a_missing_sequence_becomes_zero_and_leaves_the_others(grid: PreprocessSettings, fill: int) -> None:
    whole = head()
    missing = whole.copy()
    missing[..., 2] = fill
    prepared = prepare(missing, grid)
    inside = normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C)[:, 2, 12:20, 12:20]
    np.testing.assert_allclose(inside, 0.0, atol=1e-4)
    np.testing.assert_allclose(prepared.centre_C[:2], prepare(whole, grid).centre_C[:2], rtol=0.02)


def test_a_black_volume_is_valid_and_stays_zero(grid: PreprocessSettings) -> None:
    prepared = prepare(np.zeros((2, 40, 40, 3), np.uint8), grid)
    assert not normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C).any()


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=12),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    st.sampled_from(["head", "none"]),
)
@settings(deadline=None, max_examples=60)
def test_any_finite_volume_gives_finite_input_within_the_limits(image: np.ndarray, crop: str) -> None:
    prepared = prepare(image, PreprocessSettings(height=16, width=24, crop=crop))  # type: ignore[arg-type]
    out = normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C)
    assert out.shape == (image.shape[0], image.shape[3], 16, 24)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 5
    assert (prepared.spread_C > 0).all()


@pytest.mark.parametrize("shape", [(4, 4, 3), (0, 4, 4, 3), (2, 4, 4, 0)])
def test_wrong_shapes_are_refused(grid: PreprocessSettings, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="shape"):
        prepare(np.zeros(shape), grid)


def test_nan_is_refused(grid: PreprocessSettings) -> None:
    image = head().astype(np.float32)
    image[0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="NaN"):
        prepare(image, grid)


def test_predict_volume_is_independent_of_the_batch_size(grid: PreprocessSettings) -> None:
    def forward(image: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-normalise(image, centre, spread).mean(axis=1)))

    image = head(n_slices=5)
    whole = predict_volume(image, grid, forward, batch_size=16)
    parts = predict_volume(image, grid, forward, batch_size=2)
    assert whole.shape == image.shape[:3]
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_an_answer_that_is_not_finite_is_refused(grid: PreprocessSettings) -> None:
    with pytest.raises(UserError, match="network answered"):
        predict_volume(head(), grid, lambda image, *_: np.full(image[:, 0].shape, np.nan))


def test_settings_travel_as_a_dictionary() -> None:
    chosen = PreprocessSettings(height=48, width=32, crop="none", low_percentile=2.0)
    assert PreprocessSettings.from_dict(chosen.to_dict()) == chosen


@pytest.mark.parametrize(
    "change", [{"height": 0}, {"height": 10**9}, {"crop": "all"}, {"low_percentile": 99.5}, {"zoom": 1}]
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="preprocessing settings"):
        PreprocessSettings.from_dict({**PreprocessSettings().to_dict(), **change})
