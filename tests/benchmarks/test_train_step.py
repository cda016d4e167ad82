"""The benchmark runs and writes what it prints; how fast anything is is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

from wcr_med.data.phantom import make_phantom

_ROOT = Path(__file__).resolve().parents[2]


def test_runs_the_loops_in_turn_and_profiles(tmp_path: Path) -> None:
    data, target = make_phantom(tmp_path / "kaggle_3m", n_patients=2, seed=0), tmp_path / "figures.json"
    small = ["model.features=1", "preprocess.height=32", "preprocess.width=32", "training.batch_size=4"]
    command = [sys.executable, str(_ROOT / "benchmarks" / "train_step.py"), "--data", str(data), "--json", str(target)]
    command += [part for field in small for part in ("--set", field)]
    command += ["--only", "real", "faded weights, denormal", "--rounds", "1", "--steps", "1", "--profile", "1"]
    result = subprocess.run(
        command, cwd=_ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(target.read_text())["rows"]
    assert [(row["name"], row["against"]) for row in rows] == [
        ("pure", "pure"),
        ("held", "pure"),
        ("real", "pure"),
        ("faded weights", "held"),
        ("faded weights, denormal", "faded weights"),
    ]
    assert rows[0]["ratio"] == 1
    assert all(row["images_per_s"] > 0 and row["peak_mb"] > 0 for row in rows)
    assert "of the pure one; the target is 0.95" in result.stdout
    assert "slices prepared" in result.stdout
    assert "a slice is augmented" in result.stdout
    assert "aten::" in result.stdout  # the profile
