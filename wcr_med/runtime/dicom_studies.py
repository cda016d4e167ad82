"""Folders of DICOM series to studies: a study is one volume, however many folders its series lie in."""

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from wcr_med.runtime.sources import Source
from wcr_med.volumes.names import is_dicom

_PREAMBLE, _MAGIC = 128, b"DICM"
_MAY_BE = re.compile(r"|\.ima|\.\d+", re.IGNORECASE)  # suffixes that scanners and archives give


def dicom_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """Those that are DICOM images: by their suffix, or without a suffix of another kind by their first bytes."""
    return tuple(path for path in files if is_dicom(path) or (_may_be(path) and _has_magic(path)))


def join_studies(sources: Sequence[Source], name_of: Callable[[Path], str]) -> list[Source]:
    """Sources of one study joined into one, in the place of the first; all others as they are.

    Args:
        sources: of one folder tree, a DICOM source for each folder with such files.
        name_of: the name of a folder's results.
    """
    groups: dict[tuple[str, str], list[Source]] = {}
    keys: dict[int, tuple[str, str]] = {}
    for source in sources:
        key = _study(source) if source.kind == "dicom" else None
        if key is not None:
            groups.setdefault(key, []).append(source)
            keys[id(source)] = key
    common = {key: Path(os.path.commonpath([source.folder for source in group])) for key, group in groups.items()}
    shared = [common[key] for key, group in groups.items() if len(group) > 1]
    joined: list[Source] = []
    for source in sources:
        key = keys.get(id(source))
        if key is None or len(groups[key]) == 1:
            joined.append(source)
        elif source is groups[key][0]:
            folder = common[key]
            # Two studies side by side in one folder: each is named by its first series too.
            name = name_of(folder) if shared.count(folder) == 1 else name_of(source.folder)
            files = tuple(path for one in groups[key] for path in one.files)
            joined.append(replace(source, name=name, folder=folder, files=files))
    return joined


def _study(source: Source) -> tuple[str, str] | None:
    """Patient and study of a folder's first file that tells; `None` where none does, or the extra is missing."""
    if not importlib.util.find_spec("pydicom"):
        return None
    import pydicom

    for path in source.files:
        try:
            image = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
            study = str(image.get("StudyInstanceUID") or "")
            patient = str(image.get("PatientID") or "")
        except Exception:  # noqa: BLE001, S112  (the reader says what is wrong with it)
            continue
        if study:
            return patient, study
    return None


def _may_be(path: Path) -> bool:
    return path.name.upper() != "DICOMDIR" and _MAY_BE.fullmatch(path.suffix) is not None


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False
