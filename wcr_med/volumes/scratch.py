"""Room for voxels: in memory while they are few, in an unnamed file when they are many."""

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wcr_med.files import explain_os_errors
from wcr_med.volumes.volume import Array

IN_MEMORY_BYTES = 64 * 2**20
"""Larger arrays go to the scratch folder, where there is one."""


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None) -> Array:
    """An array of zeros, or of anything where it is small; to be filled.

    A large one is mapped from a file that has no name: it takes disk, not memory, and is gone with the array, even if
    the process is killed.

    Args:
        shape: none of the sizes negative.
        dtype: native byte order.
        folder: for the file, existing; `None`: always in memory.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if folder is None or n_bytes <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype=dtype)
    with explain_os_errors(folder), tempfile.TemporaryFile(dir=folder, prefix=".partial-") as stream:
        _reserve(stream.fileno(), n_bytes)
        return np.memmap(stream, dtype=dtype, mode="r+", shape=shape)


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the room now: on a disk that fills up later, writing to a map would end the process without a word."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
        return
    zeros = bytes(1 << 20)
    for start in range(0, n_bytes, len(zeros)):
        os.write(descriptor, zeros[: n_bytes - start])
