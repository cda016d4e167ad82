"""Hints about rows that are read soon change nothing but the time of reading."""

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from wcr_med.data import read_ahead
from wcr_med.data.read_ahead import will_need

N_ROWS = 7


@pytest.fixture
def rows(tmp_path: Path) -> np.memmap:
    path = tmp_path / "rows"
    np.arange(N_ROWS * 3000, dtype=np.float16).tofile(path)
    return np.memmap(path, dtype=np.float16, mode="r", shape=(N_ROWS, 3000))


class Spy:
    """Takes the place of a memory map."""

    def __init__(self, n_bytes: int = 6000 * N_ROWS, refuses: bool = False) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.n_bytes = n_bytes
        self.refuses = refuses

    def __len__(self) -> int:
        return self.n_bytes

    def madvise(self, option: int, start: int, length: int) -> None:
        self.asked.append((option, start, length))
        if self.refuses:
            raise OSError


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no hints")
@pytest.mark.parametrize("refuses", [False, True])
def test_whole_pages_around_each_row_are_asked_for(rows: np.memmap, refuses: bool) -> None:
    spy = rows._mmap = Spy(refuses=refuses)
    will_need(rows, [0, 6, 3])
    assert len(spy.asked) == 3
    for number, (option, start, length) in zip([0, 6, 3], spy.asked, strict=True):
        assert option == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        assert start <= 6000 * number < start + mmap.PAGESIZE
        assert start + length == 6000 * (number + 1)


def test_the_system_takes_the_hints_and_values_stay(rows: np.memmap) -> None:
    will_need(rows, range(N_ROWS))
    np.testing.assert_array_equal(rows[6], np.arange(18000, 21000).astype(np.float16))


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((3, 4))[1:]])
def test_arrays_in_memory_are_left_alone(array: npt.NDArray[np.float64]) -> None:
    will_need(array, [0, 1])


def test_a_part_of_a_file_and_a_system_without_hints_are_left_alone(
    rows: np.memmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = np.memmap(tmp_path / "rows", dtype=np.float16, mode="r", offset=6000, shape=(2, 3000))
    spy = part._mmap = rows._mmap = Spy()
    for few in (part, rows[3:], rows[::-1], rows.T):
        will_need(few, [0, 1])
    monkeypatch.setattr(read_ahead, "mmap", object())
    will_need(rows, [0])
    assert not spy.asked
