"""What is measured of a volume in blocks is what a plain computation on the whole says."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from wcr_med.errors import UserError
from wcr_med.preprocess import PreprocessSettings, foreground, predict_batches, survey
from wcr_med.preprocess.statistics import FOREGROUND_LEVEL

SETTINGS = PreprocessSettings(height=32, width=32)


def volume(dtype: type, n_slices: int = 9, size: int = 70) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    disc = (rows - size / 2) ** 2 + (columns - size / 2.5) ** 2 < (size / 3) ** 2
    values = np.random.default_rng(0).gamma(4, 20, (n_slices, size, size, 3)) * disc[None, :, :, None]
    return np.clip(values, 0, 255).astype(dtype)


def plain_foreground(image_SHWC: np.ndarray) -> np.ndarray:
    votes = [
        values > FOREGROUND_LEVEL * np.percentile(values[values > 0], 99) for values in np.moveaxis(image_SHWC, -1, 0)
    ]
    return 2 * np.sum(votes, axis=0) >= len(votes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float16, np.float32, np.float64])
def test_blocks_do_not_show(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    image_SHWC = volume(dtype)
    whole = survey(image_SHWC, SETTINGS)
    monkeypatch.setattr("wcr_med.preprocess.statistics._BLOCK_VALUES", 2 * 70 * 70 * 3)
    parts = survey(image_SHWC, SETTINGS)
    np.testing.assert_allclose(parts.centre_C, whole.centre_C, rtol=1e-6)
    np.testing.assert_allclose(parts.spread_C, whole.spread_C, rtol=1e-6)
    assert parts.frame == whole.frame

    above_SHW = plain_foreground(image_SHWC)
    np.testing.assert_array_equal(foreground(image_SHWC), above_SHW)
    for channel in range(3):
        values = image_SHWC[..., channel][above_SHW].astype(np.float64)
        clipped = np.clip(values, *np.percentile(values, (SETTINGS.low_percentile, SETTINGS.high_percentile)))
        np.testing.assert_allclose(parts.centre_C[channel], clipped.mean(), rtol=1e-6)
        np.testing.assert_allclose(parts.spread_C[channel], clipped.std(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3"])
def test_what_is_no_number_is_refused(dtype: object) -> None:
    with pytest.raises(UserError, match="expected real numbers"):
        survey(np.zeros((1, 4, 4, 1)).astype(dtype), SETTINGS)


def test_values_beyond_single_precision_are_refused() -> None:
    image_SHWC = volume(np.float64)
    image_SHWC[0, 0, 0, 0] = 1e300
    with pytest.raises(UserError, match="as good as infinite"):
        survey(image_SHWC, SETTINGS)


def test_a_batch_has_at_least_one_slice() -> None:
    image_SHWC = volume(np.uint8)
    with pytest.raises(UserError, match="at least 1"):
        next(predict_batches(image_SHWC, survey(image_SHWC, SETTINGS), lambda *_: image_SHWC, batch_size=0))


def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    def peak(n_slices: int) -> int:
        path = tmp_path / f"{n_slices}.bin"
        image_SHWC = np.memmap(path, dtype=np.float32, mode="w+", shape=(n_slices, 256, 256, 3))
        image_SHWC[...] = volume(np.float32, 1, 256)
        tracemalloc.start()
        known = survey(image_SHWC, SETTINGS)
        for _place, batch_SHW in predict_batches(image_SHWC, known, lambda image, *_: image[:, 0] * 0, batch_size=4):
            assert batch_SHW.shape[1:] == (256, 256)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(16), peak(160)
    assert many < 1.2 * few
    assert many < 160 * 256 * 256 * 3 * 4 / 2
