"""The files of a cache of slices: how they grow patient by patient, and how they are read back.

While it grows, a journal holds one JSON line for each patient that is whole, with a checksum of its bytes. A line is
written after the bytes it speaks of, so whatever kills the process, what is whole is known, and the next process goes
on from there.

Shape suffixes: S slices of one patient, N slices of all, C channels, h and w rows and columns of the network's grid.
"""

import itertools
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wcr_med.files import read_json, write_json, write_text
from wcr_med.locks import remove_unfinished

Array = npt.NDArray[Any]

_IMAGES, _MASKS, _INDEX, _JOURNAL = "images.f16", "masks.u8", "index.json", "journal.jsonl"
_CHUNK_BYTES = 1 << 22
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class PatientSlices:
    """One prepared patient.

    Attributes:
        patient_id: as in the index of patients.
        images_SChw: float16, normalised.
        masks_Shw: uint8, 0 or 1.
        slice_numbers: one a slice.
    """

    patient_id: str
    images_SChw: Array
    masks_Shw: Array
    slice_numbers: list[int]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A line of the journal."""

    patient_id: str
    shape_Chw: list[int]
    slice_numbers: list[int]
    has_tumour: list[bool]
    checksum: int  # CRC-32 of the images' bytes, then of the masks'

    def n_bytes(self) -> tuple[int, int]:
        """Of its images and of its masks."""
        n_channels, height, width = self.shape_Chw
        n_pixels = len(self.slice_numbers) * height * width
        return 2 * n_channels * n_pixels, n_pixels


class GrowingCache:
    """A cache that is being prepared, in a folder of its own. One process at a time may have it open.

    Args:
        folder: made where it is missing; else the patients that are whole in it are kept, and all behind the first
            that is not are cut off.
        key: of the cache; what was prepared for another key is deleted.

    Raises:
        OSError: the folder cannot be written or read.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._key = key
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        for name in (_IMAGES, _MASKS):
            (folder / name).touch()
        self._images = (folder / _IMAGES).open("r+b", buffering=0)
        self._masks = (folder / _MASKS).open("r+b", buffering=0)
        self._entries: list[_Entry] = []
        for entry in _read_journal(folder / _JOURNAL, key):
            if not self._is_whole(entry):
                break
            self._entries.append(entry)
        for stream, n_bytes in zip((self._images, self._masks), self._ends(), strict=True):
            stream.seek(n_bytes)
            stream.truncate()
        lines = [{"key": key}, *map(asdict, self._entries)]
        write_text(folder / _JOURNAL, "".join(json.dumps(line) + "\n" for line in lines))
        self._journal = (folder / _JOURNAL).open("ab", buffering=0)

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """The patients that are whole, in the order of their slices."""
        return tuple(entry.patient_id for entry in self._entries)

    @property
    def n_channels(self) -> int:
        """Of every patient; 0 before the first."""
        return self._entries[0].shape_Chw[0] if self._entries else 0

    @property
    def n_bytes(self) -> int:
        """Of all images and masks so far."""
        return sum(self._ends())

    def append(self, patient: PatientSlices) -> None:
        """Add a patient behind the others.

        Raises:
            ValueError: its slices have another shape than the first patient's.
            OSError: the disk is full; the patient is then absent.
        """
        shape_Chw = list(patient.images_SChw.shape[1:])
        if self._entries and shape_Chw != self._entries[0].shape_Chw:
            raise ValueError(f"slices of {shape_Chw} behind slices of {self._entries[0].shape_Chw}")
        blocks = [np.ascontiguousarray(part).reshape(-1).view(np.uint8).data for part in _parts(patient)]
        for stream, block in zip((self._images, self._masks), blocks, strict=True):
            _write_all(stream, block)
        entry = _Entry(
            patient_id=patient.patient_id,
            shape_Chw=shape_Chw,
            slice_numbers=patient.slice_numbers,
            has_tumour=[bool(mask_hw.any()) for mask_hw in patient.masks_Shw],
            checksum=zlib.crc32(blocks[1], zlib.crc32(blocks[0])),
        )
        _write_all(self._journal, memoryview((json.dumps(asdict(entry)) + "\n").encode()))
        self._entries.append(entry)

    def finish(self, target: Path) -> None:
        """Write the index and give the folder its name; a cache that stands there is replaced.

        All bytes are on the disk before: after a power cut there is a whole cache under the name, or none.

        Raises:
            OSError: the disk is full.
        """
        for stream in (self._images, self._masks):
            os.fsync(stream.fileno())
        n_slices = [len(entry.slice_numbers) for entry in self._entries]
        write_json(
            self.folder / _INDEX,
            {
                "key": self._key,
                "shape": [sum(n_slices), *self._entries[0].shape_Chw],
                "patient_ids": self.patient_ids,
                "n_slices": n_slices,
                "slice_numbers": [number for entry in self._entries for number in entry.slice_numbers],
                "has_tumour": [holds for entry in self._entries for holds in entry.has_tumour],
                "checksums": [entry.checksum for entry in self._entries],
            },
        )
        self.close()
        (self.folder / _JOURNAL).unlink()
        if target.exists():
            shutil.rmtree(target)
        self.folder.replace(target)

    def close(self) -> None:
        """Close the files; they stay for the next process."""
        for stream in (self._images, self._masks, self._journal):
            stream.close()

    def discard(self) -> None:
        """Close and delete everything."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ends(self) -> tuple[int, int]:
        sizes = [entry.n_bytes() for entry in self._entries]
        return sum(images for images, _ in sizes), sum(masks for _, masks in sizes)

    def _is_whole(self, entry: _Entry) -> bool:
        return _checksum((self._images, self._masks), self._ends(), entry.n_bytes()) == entry.checksum


@dataclass(frozen=True, kw_only=True)
class CacheFiles:
    """What the files of a finished cache hold; see `SliceCache`."""

    images_NChw: Array
    masks_Nhw: Array
    patient_ids_N: Array
    slice_numbers_N: Array
    has_tumour_N: Array


def read_cache_files(folder: Path, key: str) -> CacheFiles:
    """Map the images and masks of a finished cache into memory, read-only, and read its index.

    Raises:
        ValueError, KeyError, TypeError: the index is of another cache, or a file has another length than it says.
        UserError, OSError: a file is missing or cannot be read.
    """
    index = read_json(folder / _INDEX)
    n_slices, n_channels, height, width = index["shape"]
    columns = (index["slice_numbers"], index["has_tumour"])
    if index["key"] != key or any(len(column) != n_slices for column in columns) or sum(index["n_slices"]) != n_slices:
        raise ValueError("the index is of another cache")
    sizes = {_IMAGES: 2 * n_slices * n_channels * height * width, _MASKS: n_slices * height * width}
    for name, n_bytes in sizes.items():
        if (folder / name).stat().st_size != n_bytes:
            raise ValueError(f"{name} is truncated")
    shape = (n_slices, n_channels, height, width)
    return CacheFiles(
        images_NChw=np.memmap(folder / _IMAGES, dtype=np.float16, mode="r", shape=shape),
        masks_Nhw=np.memmap(folder / _MASKS, dtype=np.uint8, mode="r", shape=(n_slices, height, width)),
        patient_ids_N=np.repeat(np.array(index["patient_ids"]), index["n_slices"]),
        slice_numbers_N=np.array(columns[0], dtype=np.int64),
        has_tumour_N=np.array(columns[1], dtype=bool),
    )


def require_checksums(folder: Path) -> None:
    """Compare a finished cache with its checksums, once in a process, unless a file is written again.

    Raises:
        ValueError: the slices of a patient are not as they were written; names the patient.
        UserError, KeyError, TypeError, OSError: the index is no index, or a file cannot be read.
    """
    files = [folder / name for name in (_IMAGES, _MASKS, _INDEX)]
    states = [path.stat() for path in files]
    state = (folder.resolve(), *((one.st_size, one.st_mtime_ns, one.st_ino, one.st_ctime_ns) for one in states))
    if state in _compared:
        return
    index = read_json(folder / _INDEX)
    _, n_channels, height, width = index["shape"]
    sizes = [(2 * n * n_channels * height * width, n * height * width) for n in index["n_slices"]]
    starts = [(0, 0), *itertools.accumulate(sizes, lambda left, right: (left[0] + right[0], left[1] + right[1]))]

    def of_patient(place: int) -> int | None:
        with (folder / _IMAGES).open("rb", buffering=0) as images, (folder / _MASKS).open("rb", buffering=0) as masks:
            return _checksum((images, masks), starts[place], sizes[place])

    with ThreadPoolExecutor(_THREADS) as pool:  # reading and computing leave the interpreter lock
        found = list(pool.map(of_patient, range(len(sizes))))
    for patient_id, checksum, expected in zip(index["patient_ids"], found, index["checksums"], strict=True):
        if checksum != expected:
            raise ValueError(f"the slices of {patient_id} were changed since they were written")
    _compared.add(state)


_compared: set[tuple[Any, ...]] = set()


def _checksum(streams: Sequence[BinaryIO], starts: Sequence[int], sizes: Sequence[int]) -> int | None:
    """CRC-32 of a patient's images, then masks; `None` where a file ends too early."""
    checksum = 0
    for stream, start, n_bytes in zip(streams, starts, sizes, strict=True):
        stream.seek(start)
        left = n_bytes
        while left:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                return None
            checksum = zlib.crc32(chunk, checksum)
            left -= len(chunk)
    return checksum


def _parts(patient: PatientSlices) -> tuple[Array, Array]:
    return patient.images_SChw.astype(np.float16, copy=False), patient.masks_Shw.astype(np.uint8, copy=False)


def _read_journal(path: Path, key: str) -> Sequence[_Entry]:
    """The entries up to the first line that is torn or strange; none where the journal is absent or of another key."""
    try:
        header, *lines = path.read_bytes().splitlines() or [b""]
    except FileNotFoundError:
        return []
    entries = []
    try:
        if json.loads(header) != {"key": key}:
            return []
        for line in lines:
            entry = _Entry(**json.loads(line))
            entry.n_bytes()
            entries.append(entry)
    except (ValueError, TypeError):
        pass
    return entries


def _write_all(stream: BinaryIO, block: memoryview) -> None:
    # An unbuffered write may be short: Linux writes at most 2 GiB at once.
    while block:
        block = block[stream.write(block) :]
