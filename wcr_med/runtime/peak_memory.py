"""What a model file costs a process that does nothing but open it and run it once: time to load, and memory.

Run as a program it is that process: `python -m wcr_med.runtime.peak_memory MODEL FEED THREADS`, with the inputs of the
graph in a .npz file; it prints JSON.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.runtime.session import session

Array = npt.NDArray[Any]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class FreshRun:
    """What a fresh process measured.

    Attributes:
        load_ms: milliseconds to open the file, ONNX Runtime being imported already.
        peak_bytes: the most memory that the process held, interpreter, ONNX Runtime and numpy included: it is what a
            machine must have free. `None` where the operating system does not tell.
    """

    load_ms: float
    peak_bytes: int | None


def measure_fresh_run(path: Path, feed: Mapping[str, Array], *, threads: int = 0) -> FreshRun | None:
    """Open a model file and run it once in a fresh process.

    Args:
        path: a model file, portable or accelerated.
        feed: the inputs of its graph by name.
        threads: processor threads; 0 leaves the number to ONNX Runtime.

    Returns:
        `None` where the file does not run.
    """
    with tempfile.TemporaryDirectory(prefix="wcr-med-") as folder:
        inputs = Path(folder) / "feed.npz"
        named: dict[str, Any] = dict(feed)
        np.savez(inputs, **named)
        program = [sys.executable, "-m", "wcr_med.runtime.peak_memory"]
        command = [*program, str(path.resolve()), str(inputs), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    return FreshRun(**json.loads(done.stdout)) if done.returncode == 0 else None


def measure_peak_memory(path: Path, feed: Mapping[str, Array]) -> int | None:
    """The most memory of a fresh process that runs a model file once, in bytes; see `measure_fresh_run`.

    Returns:
        `None` where the operating system does not tell, or the file does not run.
    """
    found = measure_fresh_run(path, feed)
    return found.peak_bytes if found is not None else None


def own_peak() -> int | None:
    """The most memory this process has held, in bytes; `None` where the operating system does not tell."""
    if _STATUS.exists():
        # Not getrusage: on Linux its peak is inherited from the process that started this one.
        found = [line.split() for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return 1024 * int(found[0][1]) if found else None
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def main(model: str, inputs: str, threads: str) -> None:
    """Open, run, tell."""
    feed = dict(np.load(inputs))
    start = time.perf_counter()
    opened = session(Path(model), threads=int(threads))
    load_ms = 1000 * (time.perf_counter() - start)
    opened.run(None, feed)
    sys.stdout.write(json.dumps({"load_ms": load_ms, "peak_bytes": own_peak()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
