"""Work in parallel that stays within memory, and work that only one process may do."""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

T = TypeVar("T")
R = TypeVar("R")

_SECONDS_BETWEEN_TRIES = 0.5


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Iterator[R]:
    """The results of `function` in the order of `items`, from threads that run a little ahead of who takes them.

    At most `workers` + 2 results are running or waiting, however slowly they are taken.

    Args:
        function: leaves the interpreter lock where it works long, else threads gain nothing.
        items: of any number; each is taken when its turn comes.
        workers: threads; at least one is made.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def alone(path: Path, *, log: logging.Logger, waiting: str) -> Iterator[None]:
    """Hold the lock file `path` for the length of a block. The system frees the lock of a process that dies.

    Args:
        path: made, and removed at the end.
        log: takes the line of a process that has to wait.
        waiting: that line.

    Raises:
        OSError: the file cannot be made, or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s", waiting)
        lock.acquire(poll_interval=_SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: whoever waits for it looks for the name again
        lock.release()
