import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wcr_med.export.storage import decode_gap8, encode_gap8
from wcr_med.export.storage.forms import entropy_bound_bytes
from wcr_med.export.storage.positions import (
    code_bits,
    decode_rice,
    encode_rice,
    non_zero_positions,
    stored_positions,
)

Positions = npt.NDArray[np.int64]

# As bits: every NaN, both zeros and the denormal numbers, which a thread that flushes them to zero could not draw.
BITS = st.one_of(st.just(0), st.integers(0, 2**32 - 1), st.just(0x80000000), st.integers(1, 100))


@st.composite
def positions(draw: st.DrawFn) -> Positions:
    """At least one, of tensors from 1 to 3 million entries, crowded or far apart."""
    n = draw(st.integers(1, 3_000_000))
    k = draw(st.integers(1, min(n, 200)))
    if draw(st.booleans()):
        n = min(n, 2 * k)
    chosen = np.random.default_rng(draw(st.integers(0, 1000))).choice(n, k, replace=False)
    return np.sort(chosen).astype(np.int64)


def test_gap8_counts_distances_from_just_before_the_start() -> None:
    gaps, kept = encode_gap8(np.array([0, 0, 7, 8, 0, 9, 0], dtype=np.float32))
    assert gaps.dtype == np.uint8
    assert gaps.tolist() == [3, 1, 2]
    assert kept.tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("position", "gaps"), [(254, [255]), (255, [255, 1]), (509, [255, 255]), (510, [255, 255, 1]), (0, [1])]
)
def test_gap8_bridges_long_gaps_with_fillers(position: int, gaps: list[int]) -> None:
    values = np.zeros(600, dtype=np.float32)
    values[position] = 3
    found, kept = encode_gap8(values)
    assert found.tolist() == gaps
    assert kept.tolist() == [0] * (len(gaps) - 1) + [3]


def test_gap8_of_zeros_is_one_filler() -> None:
    gaps, kept = encode_gap8(np.zeros(1000, dtype=np.float32))
    assert (gaps.tolist(), kept.tolist()) == ([1], [0])
    assert not decode_gap8(gaps, kept, 1000).any()


@given(hnp.arrays(np.uint32, st.integers(1, 3000), elements=BITS, fill=st.just(0)))
@settings(max_examples=60, deadline=None)
def test_gap8_keeps_every_bit(bits: npt.NDArray[np.uint32]) -> None:
    values = bits.view(np.float32)
    gaps, kept = encode_gap8(values)
    assert decode_gap8(gaps, kept, values.size).tobytes() == values.tobytes()
    assert gaps.min() >= 1


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.float32), np.zeros(3), np.zeros(0, np.float32)])
def test_gap8_takes_flat_values_of_known_types_alone(bad: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="flat, non-empty float32"):
        encode_gap8(bad)


def test_non_zero_goes_by_bits() -> None:
    assert non_zero_positions(np.array([0.0, -0.0, np.nan, 1e-45, 0.0], np.float32)).tolist() == [1, 2, 3]
    assert non_zero_positions(np.array([0.0, -0.0, 6e-8], np.float16)).tolist() == [1, 2]
    assert non_zero_positions(np.array([0, -1, 0, 3], np.int8)).tolist() == [1, 3]
    assert stored_positions(np.zeros(5, np.int8)).tolist() == [0]


def test_the_layout_of_rice() -> None:
    low, high, n_low_bits = encode_rice(np.array([1, 6, 7, 13]), 2)  # distances less one: 1, 4, 0, 5
    assert n_low_bits == 2
    assert low.tolist() == [0b01_00_00_01]  # 1, 0, 0, 1 from the least significant bits
    assert high.tolist() == [0b101101]  # quotients 0, 1, 0, 1: set bits 0, 2, 3, 5


@given(chosen=positions(), n_low_bits=st.one_of(st.none(), st.integers(8, 22)))
@settings(max_examples=60, deadline=None)
def test_rice_keeps_positions(chosen: Positions, n_low_bits: int | None) -> None:
    low, high, used = encode_rice(chosen, n_low_bits)
    assert (low.dtype, high.dtype) == (np.uint8, np.uint8)
    assert n_low_bits in (None, used)
    assert low.size == -(-chosen.size * used // 8)
    low_bits, high_bits = code_bits(low, high, used, chosen.size)
    assert (low_bits.size, int(high_bits.sum())) == (chosen.size * used, chosen.size)
    assert high_bits[-1] == 1
    np.testing.assert_array_equal(decode_rice(low, high, used, chosen.size), chosen)


@given(chosen=positions())
@settings(max_examples=40, deadline=None)
def test_the_number_of_low_bits_is_the_best_and_no_elias_fano_code_is_shorter(chosen: Positions) -> None:
    low, high, used = encode_rice(chosen)
    for other in range(max(0, used - 2), used + 3):
        one, two, _ = encode_rice(chosen, other)
        assert low.size + high.size <= one.size + two.size + 1  # the choice counts bits, not bytes
    elias_fano = min(chosen.size * (bits + 1) + (int(chosen[-1]) >> bits) for bits in range(23))
    assert sum(bits.size for bits in code_bits(low, high, used, chosen.size)) <= elias_fano


@pytest.mark.parametrize(("sparsity", "limit"), [(0.5, 1.01), (0.8, 1.03), (0.9, 1.03), (0.95, 1.02), (0.98, 1.02)])
def test_rice_comes_near_the_entropy_bound(sparsity: float, limit: float) -> None:
    n = 200_000
    chosen = np.flatnonzero(np.random.default_rng(0).random(n) >= sparsity)
    bound = entropy_bound_bytes(n, chosen.size)
    low, high, _ = encode_rice(chosen)
    assert bound * 0.99 < low.size + high.size < bound * limit


@pytest.mark.parametrize(("n", "k", "bound"), [(100, 0, 0), (100, 100, 0), (80, 40, 10), (0, 0, 0)])
def test_the_entropy_bound(n: int, k: int, bound: float) -> None:
    assert entropy_bound_bytes(n, k) == pytest.approx(bound)
