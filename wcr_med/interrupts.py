"""Signals that wait: for calls of C++ that run Python code within, where an exception of a handler would abort."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let SIGTERM and SIGINT wait until the end of the block; the first one is then handled as it would have been.

    `KeyboardInterrupt` in a callback of C++ that lets no exception pass ends the process (exit code 134) without
    clean-up. For blocks of seconds. Outside the main thread, to which Python hands all signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        waiting.append(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # Those that were set outside Python (None) cannot be set again, and those that are ignored raise nothing.
    ours = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
