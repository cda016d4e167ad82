"""How threads of OpenMP wait for one another. Imports nothing: it must act before torch loads OpenMP."""

import os

_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_SPINS = "1000"


def wait_politely() -> None:
    """Let waiting threads give their core away soon, unless the user has chosen a policy.

    By default a thread of GNU's OpenMP that waits for the others keeps its core busy for milliseconds. When another
    process computes on the machine, the thread that is waited for then gets no core, and each of the many short
    parallel loops of a training step takes that long. Read when the library loads: call it before importing torch.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ["GOMP_SPINCOUNT"] = _SPINS
