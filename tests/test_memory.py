"""What is available, from made-up files of both versions of control groups."""

from pathlib import Path

import pytest

from wcr_med.memory import available_memory

_GIB = 1 << 30


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    _write(proc / "meminfo", f"MemTotal: 99 kB\nMemAvailable:   {8 * _GIB // 1024} kB\n")
    return proc, cgroups


def _write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def _version_2(folder: Path, limit: object, use: int, inactive: int = 0) -> None:
    _write(folder / "memory.max", limit)
    _write(folder / "memory.current", use)
    _write(folder / "memory.stat", f"anon 5\nfile 7\ninactive_file {inactive}\nactive_file 3")


def test_without_groups_it_is_the_machines(places: tuple[Path, Path]) -> None:
    assert available_memory(*places) == 8 * _GIB


def test_version_2_counts_every_group_above(places: tuple[Path, Path]) -> None:
    proc, cgroups = places
    _write(proc / "self" / "cgroup", "0::/jobs/job1")
    _version_2(cgroups / "jobs" / "job1", "max", 2 * _GIB)
    _version_2(cgroups / "jobs", 6 * _GIB, 5 * _GIB, inactive=2 * _GIB)
    assert available_memory(proc, cgroups) == 3 * _GIB
    _version_2(cgroups / "jobs" / "job1", 4 * _GIB, 2 * _GIB)
    assert available_memory(proc, cgroups) == 2 * _GIB
    _version_2(cgroups / "jobs" / "job1", 4 * _GIB, 5 * _GIB)
    assert available_memory(proc, cgroups) == 0


def test_in_a_container_the_root_is_the_containers_own_group(places: tuple[Path, Path]) -> None:
    proc, cgroups = places
    _write(proc / "self" / "cgroup", "0::/")
    _version_2(cgroups, 2 * _GIB, _GIB)
    assert available_memory(proc, cgroups) == _GIB


def test_version_1_where_the_path_is_the_hosts(places: tuple[Path, Path]) -> None:
    proc, cgroups = places
    _write(proc / "self" / "cgroup", "9:name=systemd:/\n4:memory,cpu:/docker/0123\n0::/")
    _write(cgroups / "memory" / "memory.limit_in_bytes", 4 * _GIB)
    _write(cgroups / "memory" / "memory.usage_in_bytes", 3 * _GIB)
    _write(cgroups / "memory" / "memory.stat", f"inactive_file 1\ntotal_inactive_file {_GIB}")
    assert available_memory(proc, cgroups) == 2 * _GIB
    _write(cgroups / "memory" / "memory.limit_in_bytes", 9223372036854771712)  # no limit
    assert available_memory(proc, cgroups) == 8 * _GIB


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) is None


def test_this_machine_has_some() -> None:
    available = available_memory()
    assert available is None or available > 1 << 20
