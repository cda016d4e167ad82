"""The benchmark runs and writes what it prints; how fast anything is is not tested."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.exported import SIZE, small_artefact, small_network
from wcr_med import native
from wcr_med.artefacts import save_model

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "inference.py"


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
def test_measures_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "models" / "dense.safetensors", small_network(sparsity=0.1), small_artefact())
    target = tmp_path / "figures.json"
    options = f"--size {SIZE} --sparsity 0.9 --allocation global --turns 2 --runs 1 --out {target}"
    run(monkeypatch, "--run", str(tmp_path), *options.split())
    rows = json.loads(target.read_text())["rows"]
    assert [row["pruned"] for row in rows] == ["dense"] * 2 + ["global 90%"] * 2
    assert [row["engine"] for row in rows[::2]] == ["ONNX Runtime, dense", "ONNX Runtime, portable sparse file"]
    assert all(row["engine"].startswith("accelerated") for row in rows[1::2])
    assert (rows[0]["speed"]["median"], rows[0]["speed"]["n_turns"]) == (1, 2)
    assert all(row["p95_ms"] >= row["p50_ms"] > 0 and row["size_mb"] > 0 < row["load_ms"] for row in rows)
    assert rows[2]["size_mb"] < rows[0]["size_mb"]
    assert capsys.readouterr().out.count(f"| {tmp_path.name} |") == 4


def test_an_unknown_engine_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--engine", "opnvino")
    assert "'opnvino' is none of openvino, int8, deepsparse" in capsys.readouterr().err
