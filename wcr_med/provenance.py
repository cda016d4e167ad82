"""What made an artefact: versions, commit, machine, seed."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "wcr-med",
    "torch",
    "monai",
    "segmentation-models-pytorch",
    "albumentations",
    "numpy",
    "onnx",
    "onnxruntime",
)


def provenance(*, seed: int | None) -> dict[str, Any]:
    """A JSON-ready record of what is needed to make an artefact again.

    Args:
        seed: the seed of the run, or `None` where nothing is random.

    Returns:
        `seed`, `commit` (with "+changes" where the working tree differs; `None` outside a repository, unless the
        environment variable WCR_MED_COMMIT names one), `versions` of the packages that decide results, `python`,
        `platform` and `processor`. Nothing in it names a user, a host or a path.
    """
    return {
        "seed": seed,
        "commit": _commit(),
        "versions": _versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
    }


@cache
def processor_name() -> str:
    """The processor's marketing name and the number of cores this process may use, for tables of speed."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {available_cores()} cores"


def available_cores() -> int:
    """How many processor cores this process may use; at least one."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def _commit() -> str | None:
    if named := os.environ.get("WCR_MED_COMMIT"):
        return named
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603 - fixed arguments
