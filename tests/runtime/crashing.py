"""Volumes that do to a process what damaged memory or a full one would."""

import os
import signal
from pathlib import Path

from wcr_med.runtime import Source
from wcr_med.volumes import Volume


class Killed(Source):
    """Its reader is ended from outside."""

    def read(self, *, scratch: Path | None = None) -> Volume:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(scratch)


class Leaving(Source):
    """Its reader ends the process."""

    def read(self, *, scratch: Path | None = None) -> Volume:
        os._exit(7)


class Faulty(Source):
    """Its reader has a fault of ours."""

    def read(self, *, scratch: Path | None = None) -> Volume:
        raise TypeError("not foreseen")


class Hungry(Source):
    """Its reader asks for more memory than there is."""

    def read(self, *, scratch: Path | None = None) -> Volume:
        raise MemoryError
