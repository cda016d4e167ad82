"""The most memory that a process holds which does nothing but open a model file and run it once.

Run as a program it is that process: `python -m wcr_med.runtime.peak_memory MODEL FEED`, with the inputs of the graph in
a .npz file; it prints bytes, or "unknown".
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.runtime.session import session

Array = npt.NDArray[Any]

_STATUS = Path("/proc/self/status")


def measure_peak_memory(path: Path, feed: Mapping[str, Array]) -> int | None:
    """Run a model file once in a fresh process and return the most memory that process held, in bytes.

    Interpreter, ONNX Runtime and numpy are counted: it is what a machine must have free.

    Args:
        path: a model file, portable or accelerated.
        feed: the inputs of its graph by name.

    Returns:
        `None` where the operating system does not tell, or the file does not run.
    """
    with tempfile.TemporaryDirectory(prefix="wcr-med-") as folder:
        inputs = Path(folder) / "feed.npz"
        named: dict[str, Any] = dict(feed)
        np.savez(inputs, **named)
        command = [sys.executable, "-m", "wcr_med.runtime.peak_memory", str(path.resolve()), str(inputs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    answer = done.stdout.strip()
    return int(answer) if done.returncode == 0 and answer.isdigit() else None


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


def main(model: str, inputs: str) -> None:
    """Open, run, tell."""
    session(Path(model)).run(None, dict(np.load(inputs)))
    peak = own_peak()
    sys.stdout.write("unknown" if peak is None else str(peak))


if __name__ == "__main__":
    main(*sys.argv[1:])
