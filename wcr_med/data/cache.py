"""Slices prepared once: normalised, on the network's grid, in files that are mapped into memory.

One folder a key; the key covers the files (name and content), the preprocessing settings and the preparing code, so a
cache that no longer fits is never opened. Checksums of its own files are compared once in a process, when it is opened.
The folder may be deleted at any time.

Shape suffixes: N slices of all patients, C channels, h and w rows and columns of the network's grid.
"""

import errno
import logging
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med import preprocess
from wcr_med.data.cache_files import GrowingCache, PatientSlices, read_cache_files, require_checksums
from wcr_med.data.content import file_hash
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.data.parallel import alone, map_ahead
from wcr_med.data.read_ahead import will_need
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors, sha256_of_file, sha256_of_json
from wcr_med.preprocess import PreprocessSettings, normalise, prepare, prepare_mask
from wcr_med.progress import track

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)

_FORMAT = 3  # raise it when the layout of the folder changes


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
    _rows: dict[str, range] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names_N = self.patient_ids_N
        starts = [0, *(np.flatnonzero(names_N[1:] != names_N[:-1]) + 1).tolist()] if len(names_N) else []
        ends = [*starts[1:], len(names_N)]
        rows = {str(names_N[start]): range(start, end) for start, end in zip(starts, ends, strict=False)}
        if len(rows) < len(starts):
            raise ValueError("the slices of a patient do not stand together")
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
        return np.concatenate(
            [np.empty(0, dtype=np.int64), *(np.array(self._rows[patient_id]) for patient_id in wanted)]
        )

    def will_need(self, rows: Sequence[int]) -> None:
        """Have the system fetch these rows from the disk while something else is done; only a hint."""
        will_need(self.images_NChw, rows)
        will_need(self.masks_Nhw, rows)


def prepare_cache(
    entries: Sequence[PatientEntry], settings: PreprocessSettings, folder: Path, *, workers: int, progress: bool
) -> SliceCache:
    """Open the prepared slices of these patients; prepare them first where there are none, or where they are damaged.

    A preparing that was killed goes on from the patients that are whole. Of two processes that want the same slices
    one prepares, the other waits for it.

    Args:
        entries: patients with masks; their order does not matter.
        settings: grid, crop and intensity statistics.
        folder: holds one folder a key; made where it is missing.
        workers: threads that read and prepare volumes. About twice as many prepared patients are in memory at once.
        progress: show progress.

    Raises:
        UserError: no patients, an unreadable file, a patient without masks or with another number of channels: nothing
            is left then. Or a full disk: the patients prepared so far stay, and the same call goes on from there.
    """
    if not entries:
        raise UserError("no patients to prepare; check data.root")
    ordered = sorted(entries, key=lambda entry: entry.patient_id)
    key = _key(ordered, settings)
    target = folder / key[:16]
    cache = _try_open(target, key)
    if cache is not None:
        return cache
    with explain_os_errors(folder), _alone(folder, key):
        cache = _try_open(target, key)  # another process may have made it by now
        if cache is None:
            _prepare_all(ordered, settings, target, key=key, workers=workers, progress=progress)
            cache = _open(target, key)
    return cache


def _key(entries: Sequence[PatientEntry], settings: PreprocessSettings) -> str:
    patients = []
    for entry in entries:
        files = [[path.name, file_hash(path)] for path in entry.files]  # a date may be kept by whoever replaced a file
        roles = [path.name for path in (*entry.channels, *filter(None, [entry.label]))]
        patients.append([entry.patient_id, files, roles, asdict(entry.labels)])
    # The code that prepares is part of the key: without it, a changed rule would go on with slices of the old one.
    code = [sha256_of_file(path) for path in sorted(Path(preprocess.__file__).parent.glob("*.py"))]
    return sha256_of_json({"format": _FORMAT, "code": code, "settings": settings.to_dict(), "patients": patients})


def _prepare_patient(entry: PatientEntry, settings: PreprocessSettings) -> PatientSlices:
    volume = load_volume(entry, with_mask=True)
    if volume.mask_SHW is None:
        raise UserError(f"patient {entry.patient_id} has no masks; add them, or take the patient out of data.root")
    prepared = prepare(volume.image_SHWC, settings)
    images_SChw = normalise(prepared.image_SChw, prepared.centre_C, prepared.spread_C)
    return PatientSlices(
        patient_id=entry.patient_id,
        images_SChw=images_SChw.astype(np.float16),
        masks_Shw=prepare_mask(volume.mask_SHW, prepared.frame),
        slice_numbers=[_slice_number(name, position) for position, name in enumerate(volume.names, start=1)],
    )


def _slice_number(name: str, position: int) -> int:
    match = re.search(r"(\d+)$", name, re.ASCII)
    return int(match[1]) if match else position


def _alone(folder: Path, key: str) -> AbstractContextManager[None]:
    line = "another process prepares these slices: waiting for it"
    return alone(folder / f".lock-{key[:16]}", log=_LOG, waiting=line)


def _prepare_all(
    entries: Sequence[PatientEntry],
    settings: PreprocessSettings,
    target: Path,
    *,
    key: str,
    workers: int,
    progress: bool,
) -> None:
    """Prepare the patients that are not yet whole, in this order, and give the folder its name."""
    growing = GrowingCache(target.with_name(f".partial-{target.name}"), key)
    try:
        try:
            _append_all(growing, entries, settings, workers=workers, progress=progress)
        except UserError:
            growing.discard()  # a file must change, and then the key does: nobody would go on from this
            raise
        growing.finish(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{target.parent}: the disk is full after {len(growing.patient_ids)} of {len(entries)} patients; free about"
            f" {_bytes_to_come(growing, len(entries)) / 1e9:.1f} GB and give the same command to go on, or set"
            " data.cache to a folder on a larger disk"
        ) from error
    finally:
        growing.close()


def _append_all(
    growing: GrowingCache,
    entries: Sequence[PatientEntry],
    settings: PreprocessSettings,
    *,
    workers: int,
    progress: bool,
) -> None:
    done = len(growing.patient_ids)
    if done:
        _LOG.info("prepare slices: going on after %d of %d patients", done, len(entries))
    # Decoding, sorting and resampling leave the interpreter lock; processes would have to send the slices.
    results = map_ahead(lambda entry: _prepare_patient(entry, settings), entries[done:], workers=workers)
    for patient in track(
        results, label="prepare slices", unit="patient", total=len(entries), done=done, log=_LOG, enabled=progress
    ):
        n_channels = patient.images_SChw.shape[1]
        if growing.n_channels not in (0, n_channels):
            raise UserError(
                f"patient {patient.patient_id} has {n_channels} channels, {entries[0].patient_id} has "
                f"{growing.n_channels}; give every patient the same"
            )
        growing.append(patient)
        if len(growing.patient_ids) == done + 1:
            _warn_of_a_small_disk(growing, len(entries))


def _bytes_to_come(growing: GrowingCache, n_patients: int) -> float:
    done = len(growing.patient_ids)
    return growing.n_bytes / done * (n_patients - done) if done else 0.0


def _warn_of_a_small_disk(growing: GrowingCache, n_patients: int) -> None:
    needed, free = _bytes_to_come(growing, n_patients), shutil.disk_usage(growing.folder).free
    if needed > free:
        _LOG.warning(
            "%s: the slices still to prepare take about %.1f GB, and %.1f GB are free; free some space, or set"
            " data.cache to a folder on a larger disk",
            growing.folder.parent, needed / 1e9, free / 1e9,
        )  # fmt: skip


def _try_open(folder: Path, key: str) -> SliceCache | None:
    """The cache in `folder`, or `None` where it is missing, of another key, or damaged."""
    if not folder.is_dir():
        return None
    try:
        cache = _open(folder, key)
        require_checksums(folder)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s: the prepared slices are damaged (%s); they are prepared again", folder, error)
        return None
    return cache


def _open(folder: Path, key: str) -> SliceCache:
    files = read_cache_files(folder, key)
    return SliceCache(
        images_NChw=files.images_NChw,
        masks_Nhw=files.masks_Nhw,
        patient_ids_N=files.patient_ids_N,
        slice_numbers_N=files.slice_numbers_N,
        has_tumour_N=files.has_tumour_N,
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
