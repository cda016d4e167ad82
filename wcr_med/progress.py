"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 30.0


def track(
    items: Iterable[T], *, label: str, unit: str, total: int, log: logging.Logger, enabled: bool = True
) -> Iterator[T]:
    """Pass items through and show how far the work is.

    Args:
        items: what is worked on.
        label: names the work.
        unit: names one item.
        total: how many items there are.
        log: takes the lines where standard error is no terminal, one every half minute.
        enabled: off: only pass the items through.
    """
    if not enabled:
        yield from items
    elif sys.stderr.isatty():
        yield from tqdm(items, desc=label, unit=unit, total=total, leave=False)
    else:
        yield from _with_lines(items, label=label, unit=unit, total=total, log=log)


def _with_lines(items: Iterable[T], *, label: str, unit: str, total: int, log: logging.Logger) -> Iterator[T]:
    started = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / done * (total - done)
            log.info("%s: %d of %d %ss, %.0f s left", label, done, total, unit, left)
        yield item
