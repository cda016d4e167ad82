"""Sizes and times with units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcr_med.errors import UserError
from wcr_med.stages.units import BYTES, MILLISECONDS, parse_size, parse_time, size_in_words, time_in_words


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("1MB", 1e6), ("850 kB", 850e3), ("1.5MiB", 1.5 * 2**20), ("64KiB", 65536), ("12B", 12), (" .5 MB ", 5e5)],
)
def test_sizes(text: str, n_bytes: float) -> None:
    assert parse_size(text, source="--max-size") == n_bytes


@pytest.mark.parametrize(("text", "milliseconds"), [("40ms", 40), ("250us", 0.25), ("0.1 s", 100)])
def test_times(text: str, milliseconds: float) -> None:
    assert parse_time(text, source="--max-latency") == pytest.approx(milliseconds)


@pytest.mark.parametrize("text", ["40", "1e3", "MB", "1 mb", "1GB", "-1MB", "1,5MB", "", "ms", "1MB2", "infMB"])
def test_what_is_no_size_names_the_units(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-size.*B, kB, MB, KiB, MiB, such as 1MB"):
        parse_size(text, source="--max-size")


def test_a_number_alone_is_told_that_it_has_no_unit() -> None:
    with pytest.raises(UserError, match="--max-latency 40: has no unit; give one of us, ms, s, such as 40ms"):
        parse_time("40", source="--max-latency")


@pytest.mark.parametrize("text", ["0MB", "0.0 kB", "9" * 400 + "MB"])
def test_nothing_and_endless_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="more than 0"):
        parse_size(text, source="--max-size")


@given(st.floats(1, 1e12), st.sampled_from(sorted(BYTES)))
def test_a_size_in_words_can_be_read_back(value: float, unit: str) -> None:
    n_bytes = parse_size(f"{value:.3f}{unit}", source="")
    assert parse_size(size_in_words(n_bytes), source="") == pytest.approx(n_bytes, rel=0.06, abs=0.5)


@given(st.floats(1e-2, 1e5))
def test_a_time_in_words_can_be_read_back(value: float) -> None:
    assert parse_time(time_in_words(value), source="") == pytest.approx(value, rel=0.06)


def test_every_unit_is_accepted() -> None:
    assert [parse_size(f"1{unit}", source="") for unit in BYTES] == list(BYTES.values())
    assert [parse_time(f"1{unit}", source="") for unit in MILLISECONDS] == list(MILLISECONDS.values())
