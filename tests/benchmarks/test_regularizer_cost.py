"""The benchmark runs and writes what it prints; how fast anything is is not tested."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "regularizer_cost.py"


def test_measures_every_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "cost.json"
    options = "--features 1 --size 32 --batch 2 --repeats 2 --threads 1 --json"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options.split(), str(target)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = json.loads(target.read_text())["rows"]
    terms = [f"{name}, {form}" for name in ("wcr", "l1", "hoyer", "hoyer_square") for form in ("reference", "fast")]
    steps = ["wcr_tangential", "wcr_quantile", "gradual_magnitude"]
    assert [row["name"] for row in rows] == ["none", *terms, *steps, "sam", "cram_plus", "s2sam", "powerpropagation"]
    assert rows[0]["step_ratio"]["median"] == 1
    assert all(row["step_s"] > row["term_s"] >= 0 for row in rows)
    assert "the target is at most 3%" in capsys.readouterr().out
