"""Files that are whole or absent: write to a temporary name beside the target, then rename."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success it becomes the target, on failure it is removed.

    The temporary name keeps the target's suffixes, since some writers choose a format by them.

    Args:
        target: the file to write. Its folder is created if it is missing.

    Raises:
        UserError: the folder cannot be created or written, or the disk is full.
    """
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=f"-{target.name}", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _copy_default_mode(temporary)
            _sync(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the target; on success it replaces the target, on failure it is removed.

    Raises:
        UserError: the parent folder cannot be written, or the disk is full.
    """
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".partial-", suffix=f"-{target.name}", dir=target.parent))
        try:
            yield temporary
            _copy_default_mode(temporary, folder=True)
            if target.exists():
                shutil.rmtree(target)
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def explain_os_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `target` into one line for the user.

    Errors that are not about space or permission pass through unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{target}: the disk is full; free some space or choose another --out") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{target}: not permitted to write here; choose another --out") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{target}: a file stands where a folder is needed; choose another --out") from error
        raise


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, document: Any) -> None:
    """Write `document` as indented JSON, whole or not at all. NaN and infinity are refused: JSON has neither.

    Raises:
        ValueError: the document holds NaN or infinity. Use `None` for a value that does not exist.
    """
    write_text(target, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a head and rows as CSV, whole or not at all. What a row lacks, and `None`, is an empty field.

    Raises:
        ValueError: a row has a field that is no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target, text.getvalue())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run the stage that writes it again") from None


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(document: Any) -> str:
    """The SHA-256 of a document's canonical JSON (sorted keys, no spaces), as 64 hexadecimal digits."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _copy_default_mode(path: Path, *, folder: bool = False) -> None:
    # mkstemp and mkdtemp create private files; give the result what a plain open() or mkdir() would have given.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if folder else 0o666) & ~mask)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
