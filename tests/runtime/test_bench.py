"""`wcr-med bench`: files timed side by side. No time is asserted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exported import SIZE, export_small, small_artefact, tiny_network
from tests.runtime.test_infer import write_slices
from tests.runtime.test_info import command
from wcr_med.errors import UserError
from wcr_med.model_metadata import INPUTS
from wcr_med.preprocess import PreprocessSettings
from wcr_med.runtime import Segmenter
from wcr_med.runtime import bench as bench_of
from wcr_med.runtime.bench import bench
from wcr_med.runtime.bench_text import bench_text
from wcr_med.runtime.peak_memory import FreshRun


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """No clock and no child; returns which files were opened afresh, with how many threads."""
    opened: list[tuple[str, int]] = []

    def times(runs: Mapping[str, Any], n_runs: int, **_: Any) -> dict[str, list[float]]:
        for run in runs.values():
            run()  # what is timed runs
        return {name: [10.0 * (1 + int(name))] * n_runs for name in runs}

    def fresh(path: Path, _feed: Any, *, threads: int) -> FreshRun:
        opened.append((path.name, threads))
        return FreshRun(load_ms=7.0, peak_bytes=1000 + len(opened))

    monkeypatch.setattr(bench_of, "time_in_turn", times)
    monkeypatch.setattr(bench_of, "measure_fresh_run", fresh)
    return opened


@pytest.fixture(scope="module")
def other_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("other") / "dense.onnx", tiny_network(), storage="dense").path


def test_both_files_take_turns(model_file: Path, other_file: Path, quick: list[tuple[str, int]]) -> None:
    report = bench(model_file, other_file, threads=[2, 1, 2], n_runs=15, batch_size=3)
    assert report.against is not None
    for file, path in ((report.model, model_file), (report.against, other_file)):
        assert (file.file, file.size_bytes) == (path.name, path.stat().st_size)
        assert [(row.threads, row.n_runs, row.load_ms) for row in file.timings] == [(1, 15, 7.0), (2, 15, 7.0)]
    assert [row.p50_ms for row in report.model.timings] == [10.0, 10.0]
    assert report.model.timings[0].slices_per_s == 300.0  # three slices in ten milliseconds
    assert report.model.timings[0].peak_memory_bytes == 1005  # the most of its three processes
    assert [(row.threads, row.median, row.low, row.high) for row in report.speedups] == [(1, 2, 2, 2), (2, 2, 2, 2)]
    assert quick[:4] == [("tiny.onnx", 1), ("dense.onnx", 1)] * 2
    text = bench_text(report)
    assert "2.00 times as fast (2.00 to 2.00, 5th to 95th percentile of 3 interleaved turns)" in text
    assert "3 slices of 32 x 32 a run, made-up slices" in text
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["speedups"][0]["n_turns"] == 3


def test_runs_fit_into_some_seconds(model_file: Path, quick: list[tuple[str, int]]) -> None:
    assert quick == []
    assert bench(model_file, threads=[1]).model.timings[0].n_runs == 100  # of ten milliseconds


def test_made_up_slices_are_the_same_each_time_and_on_the_grid(model_file: Path) -> None:
    metadata = Segmenter.from_file(model_file, threads=1).metadata
    first, second = (bench_of._made_up(metadata, 2) for _ in range(2))
    assert tuple(first) == INPUTS
    assert first["image"].shape == (2, 3, SIZE, SIZE)
    assert all(np.array_equal(first[name], second[name]) and first[name].dtype == np.float32 for name in INPUTS)


def test_slices_of_a_real_volume(model_file: Path, tmp_path: Path, quick: list[tuple[str, int]]) -> None:
    write_slices(tmp_path / "p1", ["s1.png", "s2.png", "s3.png"])
    report = bench(model_file, threads=[1], n_runs=5, source=tmp_path / "p1")
    assert report.input == "slices of p1"
    assert len(quick) == 3
    with pytest.raises(UserError, match="3 slices; give --batch-size 3 or less"):
        bench(model_file, threads=[1], batch_size=4, source=tmp_path / "p1")
    with pytest.raises(UserError, match="nothing"):
        bench(model_file, threads=[1], source=tmp_path / "nothing")


def test_files_for_other_images_are_refused(model_file: Path, tmp_path: Path) -> None:
    settings = PreprocessSettings(height=SIZE, width=2 * SIZE).to_dict()
    wide = export_small(tmp_path / "wide.onnx", tiny_network(), small_artefact(preprocess=settings)).path
    with pytest.raises(UserError, match=r"wide\.onnx: takes 64 columns, .*tiny\.onnx takes 32"):
        bench(model_file, wide)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder"):
        bench(tmp_path)


def test_the_command(model_file: Path, other_file: Path) -> None:
    done = command("bench", model_file, "--against", other_file, "--threads", 1, "--runs", 5, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (row,) = document["model"]["timings"]
    assert 0 < row["p50_ms"] <= row["p95_ms"]
    assert row["load_ms"] > 0
    assert row["peak_memory_bytes"] is None or row["peak_memory_bytes"] > 10e6
    assert document["speedups"][0]["low"] <= document["speedups"][0]["median"] <= document["speedups"][0]["high"]
    failed = command("bench", model_file, "--against", model_file.parent)
    assert (failed.returncode, failed.stdout) == (2, "")
