"""Files that are whole or absent: write to a temporary name beside the target, then rename."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError, printable

SEAL = "seal"
"""The field of a record, and of a safetensors header, that holds the digest of everything else in it."""

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_SEAL_TEXT = re.compile(r"sha256:[0-9a-f]{64}")
_LONG_NAME = 40  # letters of a name that a temporary one keeps, so that it is never the longer one by much
_COMPUTED = ("=", "+", "-", "@", "'")  # how a cell begins that a spreadsheet computes, or that is quoted
_ESCAPE = re.compile(r"\\(?:\\|[tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


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
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=f"-{target.name[-_LONG_NAME:]}", dir=target.parent)
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
    """Yield a temporary folder beside the target; on success it becomes the target, on failure it is removed.

    Args:
        target: absent, or an empty folder. One that another process has filled meanwhile stays as it is.

    Raises:
        UserError: the target is no empty folder by then, the parent folder cannot be written, or the disk is full.
    """
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(
            tempfile.mkdtemp(prefix=".partial-", suffix=f"-{target.name[-_LONG_NAME:]}", dir=target.parent)
        )
        try:
            yield temporary
            _copy_default_mode(temporary, folder=True)
            try:
                temporary.replace(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise UserError(f"{target}: was made by another process meanwhile; it was left as it is") from None
                raise
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
        if error.errno == errno.EFBIG:
            raise UserError(f"{target}: larger than this disk or a limit allows; choose another --out") from error
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{target}: the name is too long for this disk; choose shorter names") from error
        raise


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, document: Any) -> None:
    """Write `document` as indented JSON, whole or not at all. NaN and infinity are refused: JSON has neither.

    A record (a JSON object) ends with its seal, the SHA-256 of the rest, which `read_json` checks.

    Raises:
        ValueError: the document holds NaN or infinity. Use `None` for a value that does not exist.
    """
    if isinstance(document, Mapping):
        plain = json.loads(json.dumps({**document, SEAL: None}, allow_nan=False))  # keys and numbers as they are read
        del plain[SEAL]
        document = {**plain, SEAL: seal_of(plain)}
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    if not _is_unicode(text):  # a file's name in bytes of another encoding: JSON can hold it as an escape
        text = json.dumps(document, indent=2, allow_nan=False)
    write_text(target, text + "\n")


def seal_of(document: Mapping[str, Any]) -> str:
    """What stands in the field `SEAL` of a record with this content."""
    return f"sha256:{sha256_of_json(document)}"


def is_seal(value: Any) -> bool:
    """Whether a value looks like a seal, whatever field it stands in."""
    return isinstance(value, str) and _SEAL_TEXT.fullmatch(value) is not None


def note_unsealed(path: Path) -> None:
    """Say, once a folder, that a file has no seal."""
    if path.parent not in _noted:
        _noted.add(path.parent)
        log.info(
            "%s: has no seal, as files of older versions; whether it was changed since it was written cannot be told",
            path,
        )


_noted: set[Path] = set()


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a head and rows as CSV, whole or not at all. What a row lacks, and `None`, is an empty field.

    A text that a spreadsheet would compute, or that holds control characters, is quoted as `quote_cell` does.
    `read_csv` undoes it.

    Raises:
        ValueError: a row has a field that is no column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(quote_cell, columns))
    for row in rows:
        if unknown := row.keys() - set(columns):
            raise ValueError(f"{target}: fields that are no column: {sorted(unknown)}")
        writer.writerow([quote_cell(row.get(name, "")) for name in columns])
    write_text(target, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `write_csv` wrote, keyed by the head; every text as it was given.

    Raises:
        UserError: the file is missing or is no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = [[unquote_cell(cell) for cell in line] for line in csv.reader(stream, strict=True)]
        head = lines[0]
        return [dict(zip(head, line, strict=True)) for line in lines[1:]]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from None
    except (csv.Error, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a whole table ({error}); run the stage that writes it again") from None


def quote_cell(value: Any) -> Any:
    """What stands in a cell for a value; texts that a program might obey get an apostrophe in front, as in sheets.

    These are texts that begin with = + - @ or an apostrophe and are no number, and those with control characters or
    marks of direction, which then stand there as escapes (and a backslash twice). Anything else is returned unchanged.
    """
    if not isinstance(value, str):
        return value
    plain = printable(value) == value and "\t" not in value
    if plain and (not value.startswith(_COMPUTED) or _is_number(value)):
        return value
    return "'" + "".join("\\t" if c == "\t" else "\\\\" if c == "\\" else printable(c) for c in value)


def unquote_cell(cell: str) -> str:
    """The text that `quote_cell` put into a cell."""
    if not cell.startswith("'"):
        return cell
    return _ESCAPE.sub(lambda found: _letter(found[0]), cell[1:])


def read_json(path: Path, *, ours: bool = True) -> Any:
    """Read a JSON file; check the seal of a record, which is then left out.

    Args:
        path: the file.
        ours: `write_json` wrote it; a record without a seal, of an older version, is then told of in the log.

    Raises:
        UserError: the file is missing, is not JSON, or is not as it was written.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run the stage that writes it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the disk and the permissions") from None
    if not isinstance(document, dict):
        return document
    seal = document.pop(SEAL, None)
    if seal is None and not any(map(is_seal, document.values())):
        if ours:
            note_unsealed(path)
    elif not _fits(seal, document):
        raise UserError(
            f"{path}: was changed or damaged after it was written, its SHA-256 does not fit; restore it from a copy, or"
            " delete it and run the command that writes it again"
        )
    return document


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
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _fits(seal: Any, document: Mapping[str, Any]) -> bool:
    try:
        return bool(seal == seal_of(document))
    except ValueError:  # NaN or infinity, which no sealed record holds
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _letter(escape: str) -> str:
    short = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    return short[escape] if escape in short else chr(int(escape[2:], 16))


def _copy_default_mode(path: Path, *, folder: bool = False) -> None:
    # mkstemp and mkdtemp create private files; give the result what a plain open() or mkdir() would have given.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if folder else 0o666) & ~mask)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
