"""Rows of a mapped file, read while something else is done."""

import contextlib
import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


def will_need(rows_N: npt.NDArray[Any], numbers: Iterable[int]) -> None:
    """Tell the system that these rows are read soon; it fetches them from the disk, and hardly anybody waits.

    Rows that are read at random without this cost a multiple: each first touch reads as far ahead as the disk is set
    to, 128 kB or many megabytes, and the reader waits for it. Only a hint: nothing happens where the array is not
    a whole file mapped into memory, or the system takes no hints.

    Args:
        rows_N: of any number of axes, N first, in the order of C.
        numbers: of the rows, from 0.
    """
    if not isinstance(rows_N, np.memmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    mapped: mmap.mmap = rows_N._mmap  # type: ignore[attr-defined]  # numpy has no public way to it
    if not rows_N.flags.c_contiguous or rows_N.nbytes != len(mapped):
        return
    n_bytes = rows_N.strides[0]
    for number in numbers:
        begin = number * n_bytes
        page = begin - begin % mmap.PAGESIZE
        with contextlib.suppress(OSError):  # a busy disk may refuse hints
            mapped.madvise(mmap.MADV_WILLNEED, page, begin + n_bytes - page)
