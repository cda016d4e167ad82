"""Signals that ask a training to stop between two steps."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether a signal came. Made by `stop_on_signals`."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None


@contextlib.contextmanager
def stop_on_signals(log: logging.Logger) -> Iterator[StopRequest]:
    """For the length of a block, SIGTERM and SIGINT set the request; a second one acts at once, as it did before.

    Only the main thread of a process can take signals; in another the request is never set.

    Args:
        log: takes one line when the first signal comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: FrameType | None) -> None:
        request.name = signal.Signals(number).name
        restore()
        log.warning("%s: finishing this step, then saving", request.name)

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
