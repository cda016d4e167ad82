"""How much memory this process may still take: of the machine, or of the container that it runs in."""

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")

# Of a limit's files in versions 2 and 1: the limit, the use, and the name in memory.stat of what can be given back.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that this process and its children may still take before the system runs short or kills them.

    The least of what the machine has available and what each control group above this process still allows. Pages of
    files that have not been used of late do not count as taken, since the system drops them.

    Args:
        proc: where the process file system is.
        cgroups: where the control groups are, of version 2 or 1.

    Returns:
        At least 0; `None` where the system tells nothing (no Linux).
    """
    rooms = [room for room in [_of_machine(proc), *_of_groups(proc, cgroups)] if room is not None]
    return max(0, min(rooms)) if rooms else None


def _of_machine(proc: Path) -> int | None:
    for line in _text(proc / "meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int | None]:
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for folder in _with_parents(cgroups, path):
                yield _room(folder, *_VERSION_2)
        elif "memory" in controllers.split(","):
            for folder in _with_parents(cgroups / "memory", path):
                yield _room(folder, *_VERSION_1)


def _with_parents(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. In a container the path may be the host's: then only the root is there."""
    folder = root / path.strip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _room(folder: Path, limit_name: str, use_name: str, inactive_name: str) -> int | None:
    limit, use = _text(folder / limit_name).strip(), _text(folder / use_name).strip()
    if not limit.isdigit() or not use.isdigit():  # no such file, or "max"
        return None
    inactive = 0
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == inactive_name:
            inactive = int(value)
    return int(limit) - int(use) + inactive


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
