"""The table of exported files: what it says of each, and where it goes."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.files_table import BEGIN, END, Row, measure, network_names, placed, table
from tests.exported import SIZE, export_small, tiny_network
from wcr_med.stages.workspace import Workspace
from wcr_med.timing import SpeedRatio


def row(name: str, ms: float) -> Row:
    return Row(
        name=name,
        size_bytes=1_500_000,
        peak_bytes=None if name == "dense" else 90_000_000,
        load_ms=12.3,
        p50_ms={1: ms, 2: ms / 2},
        speed=dict.fromkeys((1, 2), SpeedRatio(median=10 / ms, low=9.5 / ms, high=11 / ms, n_turns=10)),
        dice_patient=0.8,
        f1_pooled=0.75,
    )


def test_table() -> None:
    head, rule, dense, pruned, empty, absent = table(
        [row("dense", 10.0), row("pruned-90", 4.0)], {"pruned-90.int8": "too far off"}
    ).splitlines()
    assert head.count("|") == rule.count("|") == dense.count("|") == pruned.count("|")
    ratio = "1.00 (0.95 to 1.10)"
    assert dense == f"| dense | 1.50 | not known | 12 | 10.0 | {ratio} | 5.0 | {ratio} | 0.8000 | 0.7500 |"
    assert "| 90 | 12 | 4.0 | 2.50 (2.38 to 2.75) |" in pruned
    assert empty == ""
    assert absent == "Not there: pruned-90.int8: too far off."


def test_files_are_timed_in_turn(tmp_path: Path) -> None:
    files = {name: export_small(tmp_path / f"{name}.onnx", tiny_network()).path for name in ("a", "b")}
    sample = {
        "image": np.zeros((1, 3, SIZE, SIZE), np.float32),
        "centre": np.zeros(3, np.float32),
        "spread": np.ones(3, np.float32),
    }
    rows = measure(files, sample, lambda name: (0.5, 0.25) if name == "a" else (0.75, 1.0), runs=2, loads=1)
    assert [(found.name, found.dice_patient, found.f1_pooled) for found in rows] == [("a", 0.5, 0.25), ("b", 0.75, 1.0)]
    for found in rows:
        assert found.size_bytes == files[found.name].stat().st_size
        assert set(found.p50_ms) == set(found.speed) == {1, 2}
        assert min(found.load_ms, *found.p50_ms.values()) > 0


def test_networks_by_sparsity(finished: Workspace) -> None:
    assert network_names(finished) == ["dense", "pruned-90"]


def test_page() -> None:
    assert placed(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(SystemExit, match="lacks the lines"):
        placed("nothing", "new")
