"""Slices prepared once: normalised, on the network's grid, in files that are mapped into memory.

One folder a key; the key covers the files (name, size, time of change), the preprocessing settings and the preparing
code, so a cache that no longer fits is never opened. The folder may be deleted at any time.

Shape suffixes: N slices of all patients, C channels, h and w rows and columns of the network's grid.
"""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wcr_med import preprocess
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.files import atomic_folder, read_json, sha256_of_file, sha256_of_json, write_json
from wcr_med.preprocess import PreprocessSettings, normalise, prepare, prepare_mask
from wcr_med.progress import track

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)

_FORMAT = 1  # raise it when the layout of the folder changes
_IMAGES, _MASKS, _INDEX = "images.f16", "masks.u8", "index.json"


@dataclass(frozen=True, kw_only=True)
class SliceCache:
    """Prepared slices of many patients; the slices of a patient stand together, in the volume's order.

    Attributes:
        images_NChw: float16, normalised; mapped from a file, read-only.
        masks_Nhw: uint8, 0 or 1; likewise.
        patient_ids_N: text, the patient of each slice.
        slice_numbers_N: int64, the number in the file's name; where it has none, the position in the volume, from 1.
        has_tumour_N: bool, whether the mask on the network's grid holds any lesion.
        key: what was prepared and how, 64 hexadecimal digits.
        folder: where the files are; `None` for a cache that only lives in memory.
    """

    images_NChw: Array
    masks_Nhw: Array
    patient_ids_N: Array
    slice_numbers_N: Array
    has_tumour_N: Array
    key: str
    folder: Path | None = None
    _rows: dict[str, Array] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names, first, counts = np.unique(self.patient_ids_N, return_index=True, return_counts=True)
        rows = {
            str(name): np.arange(start, start + count) for name, start, count in zip(names, first, counts, strict=True)
        }
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        return len(self.patient_ids_N)

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader process maps the files again; pickling the arrays would copy the whole data set into each of them.
        if self.folder is None:
            arrays = (self.images_NChw, self.masks_Nhw, self.patient_ids_N, self.slice_numbers_N, self.has_tumour_N)
            return _in_memory, (*arrays, self.key)
        return _open, (self.folder, self.key)

    def rows(self, patient_ids: Iterable[str]) -> Array:
        """Rows of the given patients: int64, patients in the given order, slices in the volume's.

        Raises:
            UserError: a patient is not in the cache.
        """
        wanted = tuple(patient_ids)
        for patient_id in wanted:
            if patient_id not in self._rows:
                raise UserError(
                    f"patient {patient_id} of the split is not among the {len(self._rows)} patients of data.root; "
                    "make the split again, or restore the patient's folder"
                )
        return np.concatenate([np.empty(0, dtype=np.int64), *(self._rows[patient_id] for patient_id in wanted)])


def prepare_cache(
    entries: Sequence[PatientEntry], settings: PreprocessSettings, folder: Path, *, workers: int, progress: bool
) -> SliceCache:
    """Open the prepared slices of these patients; prepare them first where there are none, or where they are damaged.

    Args:
        entries: patients with masks; their order does not matter.
        settings: grid, crop and intensity statistics.
        folder: holds one folder a key; made where it is missing.
        workers: threads that read and prepare volumes.
        progress: show progress.

    Raises:
        UserError: no patients, an unreadable file, a patient without masks or with another number of channels, or
            a full disk; nothing half-written is left.
    """
    if not entries:
        raise UserError("no patients to prepare; check data.root")
    ordered = sorted(entries, key=lambda entry: entry.patient_id)
    key = _key(ordered, settings)
    target = folder / key[:16]
    cache = _try_open(target, key)
    if cache is None:
        with atomic_folder(target) as temporary:
            _write(ordered, settings, temporary, key=key, workers=workers, progress=progress)
        cache = _open(target, key)
    return cache


@dataclass(frozen=True, kw_only=True)
class _PreparedPatient:
    patient_id: str
    images_SChw: Array
    masks_Shw: Array
    slice_numbers: list[int]


def _key(entries: Sequence[PatientEntry], settings: PreprocessSettings) -> str:
    patients = []
    for entry in entries:
        files = []
        for path in entry.files:
            try:
                status = path.stat()
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be read ({error.strerror}); restore it or index the data again"
                ) from error
            files.append([path.name, status.st_size, status.st_mtime_ns])
        roles = [path.name for path in (*entry.channels, *filter(None, [entry.label]))]
        patients.append([entry.patient_id, files, roles])
    # The code that prepares is part of the key: without it, a changed rule would go on with slices of the old one.
    code = sha256_of_file(Path(preprocess.__file__))
    return sha256_of_json({"format": _FORMAT, "code": code, "settings": settings.to_dict(), "patients": patients})


def _prepare_patient(entry: PatientEntry, settings: PreprocessSettings) -> _PreparedPatient:
    volume = load_volume(entry, with_mask=True)
    if volume.mask_SHW is None:
        raise UserError(f"patient {entry.patient_id} has no masks; add them, or take the patient out of data.root")
    prepared = prepare(volume.image_SHWC, settings)
    images_SChw = normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C)
    return _PreparedPatient(
        patient_id=entry.patient_id,
        images_SChw=images_SChw.astype(np.float16),
        masks_Shw=prepare_mask(volume.mask_SHW, prepared.frame),
        slice_numbers=[_slice_number(name, position) for position, name in enumerate(volume.names, start=1)],
    )


def _slice_number(name: str, position: int) -> int:
    match = re.search(r"(\d+)$", name, re.ASCII)
    return int(match[1]) if match else position


def _write(
    entries: Sequence[PatientEntry],
    settings: PreprocessSettings,
    folder: Path,
    *,
    key: str,
    workers: int,
    progress: bool,
) -> None:
    patient_ids: list[str] = []
    slice_numbers: list[int] = []
    has_tumour: list[bool] = []
    n_channels = 0
    # Decoding and resampling leave the interpreter lock, so threads are enough.
    with (
        (folder / _IMAGES).open("wb") as images,
        (folder / _MASKS).open("wb") as masks,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        results = pool.map(lambda entry: _prepare_patient(entry, settings), entries)
        for patient in track(
            results, label="prepare slices", unit="patient", total=len(entries), log=_LOG, enabled=progress
        ):
            n_channels = n_channels or patient.images_SChw.shape[1]
            if patient.images_SChw.shape[1] != n_channels:
                raise UserError(
                    f"patient {patient.patient_id} has {patient.images_SChw.shape[1]} channels, "
                    f"{entries[0].patient_id} has {n_channels}; give every patient the same"
                )
            images.write(np.ascontiguousarray(patient.images_SChw).data)
            masks.write(np.ascontiguousarray(patient.masks_Shw).data)
            patient_ids += [patient.patient_id] * len(patient.slice_numbers)
            slice_numbers += patient.slice_numbers
            has_tumour += [bool(mask_hw.any()) for mask_hw in patient.masks_Shw]
        _flush(images)
        _flush(masks)
    write_json(
        folder / _INDEX,
        {
            "key": key,
            "shape": [len(patient_ids), n_channels, settings.height, settings.width],
            "patient_ids": patient_ids,
            "slice_numbers": slice_numbers,
            "has_tumour": has_tumour,
        },
    )


def _flush(stream: BinaryIO) -> None:
    # On the disk before the folder gets its name: after a power cut there is a whole cache or none.
    stream.flush()
    os.fsync(stream.fileno())


def _try_open(folder: Path, key: str) -> SliceCache | None:
    """The cache in `folder`, or `None` where it is missing, of another key, or damaged."""
    if not folder.is_dir():
        return None
    try:
        return _open(folder, key)
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None


def _open(folder: Path, key: str) -> SliceCache:
    index = read_json(folder / _INDEX)
    n_slices, n_channels, height, width = index["shape"]
    columns = (index["patient_ids"], index["slice_numbers"], index["has_tumour"])
    if index["key"] != key or any(len(column) != n_slices for column in columns):
        raise ValueError("the index is of another cache")
    sizes = {_IMAGES: 2 * n_slices * n_channels * height * width, _MASKS: n_slices * height * width}
    for name, n_bytes in sizes.items():
        if (folder / name).stat().st_size != n_bytes:
            raise ValueError(f"{name} is truncated")
    shape = (n_slices, n_channels, height, width)
    return SliceCache(
        images_NChw=np.memmap(folder / _IMAGES, dtype=np.float16, mode="r", shape=shape),
        masks_Nhw=np.memmap(folder / _MASKS, dtype=np.uint8, mode="r", shape=(n_slices, height, width)),
        patient_ids_N=np.array(columns[0]),
        slice_numbers_N=np.array(columns[1], dtype=np.int64),
        has_tumour_N=np.array(columns[2], dtype=bool),
        key=key,
        folder=folder,
    )


def _in_memory(
    images: Array, masks: Array, patient_ids: Array, numbers: Array, has_tumour: Array, key: str
) -> SliceCache:
    return SliceCache(
        images_NChw=images,
        masks_Nhw=masks,
        patient_ids_N=patient_ids,
        slice_numbers_N=numbers,
        has_tumour_N=has_tumour,
        key=key,
    )
