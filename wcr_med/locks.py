"""Folders that one command at a time writes in, and the unfinished files that a killed one left there."""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors

LOCK_NAME = ".lock"
OTHER_HOST_S = 120.0
"""How long to wait for a holder on another machine: a file server keeps the lock of a lost node for some time."""

_POLL_S = 0.5
_UNFINISHED = re.compile(r"\.partial-[a-z0-9_]{8}(-.+)?", re.DOTALL)  # as `wcr_med.files` names them
_OF_INFER = ".wcr-med"  # `infer` keeps its lock in there
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Held:
    """A lock that a thread of this process holds, or is about to take."""

    thread: int
    depth: int = 1


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def holding(folder: Path, *, shared: bool = False, patient: bool = False, lock_name: str = LOCK_NAME) -> Iterator[bool]:
    """Keep other commands out of a folder for the length of a block. The system frees the lock of a process that dies.

    The block may hold the folder again, in the same thread. Where the file system has no locks a warning says so.

    Args:
        folder: made if it is missing.
        shared: several may hold it at once, and none of them writes; a folder that cannot be written is then not held.
        patient: wait for another command to end, with a line in the log, instead of being refused.
        lock_name: of the lock file in it, which stays there.

    Yields:
        Whether this call took the lock; false where the block of an outer call has it already.

    Raises:
        UserError: another command holds the folder, and names it; at once where it runs on this machine, after
            `OTHER_HOST_S` where on another. Or the folder cannot be written.
    """
    path = folder.resolve() / lock_name
    if _again(path, folder):
        try:
            yield False
        finally:
            _held[path].depth -= 1
        return
    stream, taken, is_new = None, False, not folder.exists()
    try:
        stream = _open(path, folder, shared=shared)
        while stream is not None and _take(stream, folder, shared=shared, patient=patient) and _is_gone(stream, path):
            stream.close()  # whoever held it was refused at its first step, and removed what it had made
            stream = _open(path, folder, shared=shared)
        taken = not shared
        yield True
    finally:
        if stream is not None:
            if taken:
                with contextlib.suppress(OSError):
                    stream.truncate(0)
            if is_new and taken:
                _remove_if_unused(folder, path)
            stream.close()
        del _held[path]


def remove_unfinished(folder: Path, *, leave: Collection[Path] = ()) -> None:
    """Delete what writers that were killed left in a folder and below. The caller holds the folder.

    Folders below with a lock file of their own, and links, are not looked into: others may be writing there.

    Args:
        folder: to look through.
        leave: folders that are not looked into either.
    """
    apart = {path.resolve() for path in leave}
    for place, folders, files in os.walk(folder):
        here = Path(place)
        litter = [name for name in folders if _UNFINISHED.fullmatch(name)]
        for name in litter:
            shutil.rmtree(here / name, ignore_errors=True)
        for name in filter(_UNFINISHED.fullmatch, files):
            with contextlib.suppress(OSError):
                (here / name).unlink()
        gone = len(litter) + sum(bool(_UNFINISHED.fullmatch(name)) for name in files)
        if gone:
            log.info("%s: %d unfinished files of a command that was killed removed", here, gone)
        folders[:] = [
            name
            for name in folders
            if name not in litter and (here / name).resolve() not in apart and not _has_lock(here / name)
        ]


def _is_gone(stream: TextIO, path: Path) -> bool:
    try:
        return os.fstat(stream.fileno()).st_ino != path.stat().st_ino
    except OSError:
        return True


def _remove_if_unused(folder: Path, lock: Path) -> None:
    """Remove a folder that was made for its lock alone; the lock is held."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [lock.name]:
            lock.unlink()
            folder.rmdir()


def _has_lock(folder: Path) -> bool:
    try:
        return any(path.name.startswith(LOCK_NAME) or path.name == _OF_INFER for path in folder.iterdir())
    except OSError:
        return True


def _again(path: Path, folder: Path) -> bool:
    """Whether an outer block of this thread holds the lock; then it is held once more. Else it is this thread's now."""
    with _guard:
        before = _held.setdefault(path, _Held(thread=threading.get_ident(), depth=0))
        if before.depth == 0 and before.thread == threading.get_ident():
            before.depth = 1
            return False
        if before.thread != threading.get_ident():
            raise UserError(f"{folder}: another thread of this program works in it; wait until it is done")
        before.depth += 1
        return True


def _open(path: Path, folder: Path, *, shared: bool) -> TextIO | None:
    if shared:
        try:
            return path.open("r+", encoding="utf-8") if path.exists() else None
        except OSError:
            return None
    with explain_os_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")  # what a holder wrote stays until the lock is taken


def _take(stream: TextIO, folder: Path, *, shared: bool, patient: bool) -> bool:
    """Take the lock, which closing the file or the end of the process frees; false where there are no locks."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return False
    started, told = time.monotonic(), False
    while True:
        try:
            # Of this process alone: those that it forks, such as loaders of slices, do not keep it when this one dies.
            fcntl.lockf(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in _NO_LOCKS:
                log.warning(
                    "%s: the file system has no locks (%s); give no second command there", folder, error.strerror
                )
                return False
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        host, holder = _holder(stream)
        is_here = host in (None, socket.gethostname())
        if not patient and (is_here or time.monotonic() - started > OTHER_HOST_S):
            raise UserError(f"{folder}: {holder} works in it; wait until that is done, or choose another folder")
        if not told:
            at_most = "" if patient else f" at most {OTHER_HOST_S:g} s"
            log.info("%s: %s works in it; waiting%s for it to end", folder, holder, at_most)
            told = True
        time.sleep(_POLL_S)
    if not shared:
        _sign(stream)
    return True


def _sign(stream: TextIO) -> None:
    program = " ".join([Path(sys.argv[0]).name.removesuffix(".py").replace("__main__", "wcr-med"), *sys.argv[1:2]])
    holder = {
        "command": program.strip() or "a program",
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
        stream.truncate(0)
        stream.write(json.dumps(holder, ensure_ascii=False) + "\n")
        stream.flush()


def _holder(stream: TextIO) -> tuple[str | None, str]:
    """The machine of whoever holds the lock, `None` where it is not known, and its description."""
    try:
        stream.seek(0)
        found = json.loads(stream.read())
        who = f"`{found['command']}` (process {found['process']} on {found['host']}, since {found['since']})"
        return str(found["host"]), who
    except (OSError, ValueError, KeyError, TypeError):
        return None, "another command"
