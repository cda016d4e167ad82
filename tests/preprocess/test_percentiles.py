"""Percentiles from blocks are those of numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.preprocess.order import Percentiles

PERCENTAGES = (0.0, 1.0, 33.3, 50.0, 99.0, 100.0)


def from_blocks(values: np.ndarray, percentages=PERCENTAGES, n_blocks: int = 3) -> tuple[tuple[float, ...] | None, int]:
    found = Percentiles(values.dtype, percentages)
    n_passes = 0
    while not found.done:
        for block in np.array_split(values, n_blocks):
            found.add(block)
        found.end_pass()
        n_passes += 1
    return found.values(), n_passes


@pytest.mark.parametrize(
    ("dtype", "n_passes"),
    [("?", 1), ("u1", 1), ("i1", 1), ("i2", 1), ("u2", 1), (">i2", 1), ("f2", 1), ("i4", 2), ("u4", 2), ("f4", 2),
     (">f4", 2), ("i8", 4), ("u8", 4), ("f8", 4), ("g", 4)],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_every_number_type(dtype: str, n_passes: int, size: int) -> None:
    kind = np.dtype(dtype)
    drawn = np.random.default_rng(size).standard_normal(size) * (40 if kind.itemsize == 1 else 300)
    values = (np.abs(drawn) if kind.kind in "ub" else drawn).astype(kind)
    expected = np.percentile(values.astype(np.float64), PERCENTAGES)
    found, passes = from_blocks(values)
    assert passes == n_passes
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(-(2**15), 2**15 - 1) | st.sampled_from([0, 0, 0, 7, -7]), min_size=1, max_size=60),
    st.floats(0, 100),
)
def test_any_integers(values: list[int], percentage: float) -> None:
    drawn = np.array(values, np.int16)
    found, _ = from_blocks(drawn, (percentage,), n_blocks=4)
    np.testing.assert_allclose(found, [np.percentile(drawn.astype(np.float64), percentage)], rtol=1e-12, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(0, 100),
)
def test_any_floats(values: list[float], percentage: float) -> None:
    drawn = np.array(values, np.float32)
    found, _ = from_blocks(drawn, (percentage,))
    expected = np.percentile(drawn.astype(np.float64), percentage)
    np.testing.assert_allclose(found, [expected], rtol=1e-9, atol=1e-9 * np.abs(drawn).max())


def test_no_values_have_no_percentile() -> None:
    assert from_blocks(np.zeros(0, np.float32)) == (None, 1)


def test_it_does_not_answer_before_all_passes() -> None:
    with pytest.raises(ValueError, match="passes are missing"):
        Percentiles(np.uint8, [50]).values()
