"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from wcr_med.log_format import shows_bar

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 30.0


def track(
    items: Iterable[T],
    *,
    label: str,
    unit: str,
    total: int,
    log: logging.Logger,
    done: int = 0,
    enabled: bool = True,
) -> Iterator[T]:
    """Pass items through and show how far the work is.

    Args:
        items: what is worked on.
        label: names the work.
        unit: names one item.
        total: how many items there are in all.
        log: takes the lines where there is no bar, one every half minute.
        done: how many of them were done by an earlier process; they are not among `items`.
        enabled: off: only pass the items through.
    """
    if not enabled:
        yield from items
    elif shows_bar():
        yield from tqdm(items, desc=label, unit=unit, total=total, initial=done, leave=False)
    else:
        yield from _with_lines(items, label=label, unit=unit, total=total, before=done, log=log)


def _with_lines(
    items: Iterable[T], *, label: str, unit: str, total: int, before: int, log: logging.Logger
) -> Iterator[T]:
    started = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / done * (total - before - done)
            log.info(
                "%s: %d of %d %ss, %.0f s left", label, before + done, total, unit, left,
                extra={"work": label, "done": before + done, "total": total, "unit": unit, "seconds_left": left},
            )  # fmt: skip
        yield item
