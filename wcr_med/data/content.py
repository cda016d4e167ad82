"""What a data set holds, as one hash: an image or mask that was changed is noticed, whatever its date says."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError
from wcr_med.files import sha256_of_file, sha256_of_json
from wcr_med.progress import track
from wcr_med.volumes.labels import LabelValues

_LOG = logging.getLogger(__name__)


def content_hash(entries: Sequence[PatientEntry]) -> str:
    """The SHA-256 over every file of the patients, as 64 hexadecimal digits; places and dates do not count.

    What label values were said to mean is part of it; where nothing was said, it is that of the files alone.

    A file is read once in a process, unless it is written again.

    Raises:
        UserError: a file cannot be read.
    """
    files = {
        entry.patient_id: {path.name: file_hash(path) for path in entry.files}
        for entry in track(entries, label="hash the images", unit="patient", total=len(entries), log=_LOG)
    }
    meant = {entry.patient_id: asdict(entry.labels) for entry in entries if entry.labels != LabelValues()}
    return sha256_of_json({"files": files, "labels": meant} if meant else files)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes; read once in a process, unless it is written again.

    Raises:
        UserError: it cannot be read.
    """
    try:
        status = path.stat()
        # The last of these changes with the content even where whoever writes it sets the date back.
        return _read(path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the disk and the permissions") from None


@cache
def _read(path: Path, *_state: int) -> str:
    return sha256_of_file(path)
