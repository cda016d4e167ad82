"""The second file of a run, tuned on this machine."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wcr_med import native
from wcr_med.cli import app
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.files import sha256_of_file
from wcr_med.stages import export
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import accelerated_path, export_stage, manifest_path
from wcr_med.stages.run import plan, run_stages
from wcr_med.stages.workspace import Workspace, open_workspace

SETTINGS = ("export.accelerate=true", "export.accelerate_rounds=1", "export.accelerate_voxels=8")
needs_library = pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")


def copied(workspace: Workspace, target: Path, *assignments: str) -> Workspace:
    """A copy of a finished run with other settings."""
    shutil.copytree(workspace.out, target, dirs_exist_ok=True)
    return open_workspace(target, config_path=workspace.out / "config.yaml", assignments=assignments)


def clock(monkeypatch: pytest.MonkeyPatch, dense_ms: float, tried_ms: float) -> None:
    """Three turns in which every run took as long."""
    times = {"dense": [dense_ms] * 15, "tried": [tried_ms] * 15}
    monkeypatch.setattr("wcr_med.export.accelerate.time_in_turn", lambda *_: times)


@needs_library
@pytest.mark.parametrize("faster", [True, False])
def test_export_writes_a_second_file(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    clock(monkeypatch, 3.0, 1.0 if faster else 4.0)
    workspace = copied(finished, tmp_path / "run", *SETTINGS)
    line = export_stage(workspace, "pruned-90")
    target = workspace.onnx_path("pruned-90")
    manifest = json.loads(manifest_path(accelerated_path(target)).read_text())
    assert manifest["file"] == accelerated_path(target).name == "pruned-90.accelerated.onnx"
    assert manifest["accelerated"] == faster
    if faster:
        assert "1.0 ms a slice, 1 thread; against ONNX Runtime alone 3.00 times as fast (3.00 to 3.00, 5th to" in line
    else:
        assert "is the same file, since ONNX Runtime alone is as fast" in line
        assert accelerated_path(target).read_bytes() == target.read_bytes()


@needs_library
def test_the_second_file_scores_like_the_first(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 2.0, 1.0)
    workspace = copied(finished, tmp_path / "run", *SETTINGS)
    export_stage(workspace, "pruned-90")
    evaluate_stage(workspace, "pruned-90.accelerated", onnx=True)
    results = [
        EvaluationResult.load(workspace.evaluation_folder(f"{name}-onnx") / "metrics.json")
        for name in ("pruned-90", "pruned-90.accelerated")
    ]
    assert [row.dice for row in results[0].rows] == pytest.approx([row.dice for row in results[1].rows], abs=1e-3)


def test_without_the_wish_a_second_file_of_older_weights_goes(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "export.parity_slices=4")
    accelerated_path(workspace.onnx_path("dense")).write_text("older")
    assert "accelerated" not in export_stage(workspace, "dense")
    assert not accelerated_path(workspace.onnx_path("dense")).exists()


@needs_library
def test_a_second_file_that_is_refused_leaves_none_of_older_weights(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 2.0, 1.0)
    settings = (*SETTINGS, "export.accelerate_tolerance=1e-30", "export.parity_slices=4")
    workspace = copied(finished, tmp_path / "run", *settings)
    target = workspace.onnx_path("pruned-90")
    accelerated_path(target).write_text("older")
    with pytest.raises(UserError, match=r"accelerate_tolerance.*the portable file was"):
        export_stage(workspace, "pruned-90")
    assert not accelerated_path(target).exists()
    manifest = json.loads(manifest_path(target).read_text())
    assert manifest["sha256"] == sha256_of_file(target)
    assert manifest["parity"]["n_slices"] == 4
    assert not manifest_path(accelerated_path(target)).exists()


def test_without_the_library_nothing_is_begun(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")
    workspace = open_workspace(
        tmp_path / "run", config_path=finished.out / "config.yaml", assignments=["export.accelerate=true"]
    )
    for work in (lambda: export_stage(workspace), lambda: run_stages(workspace)):
        with pytest.raises(UserError, match="accelerator was not built"):
            work()
    assert not workspace.out.exists()


def test_the_plan_says_so(finished: Workspace) -> None:
    wanted = open_workspace(
        finished.out, config_path=finished.out / "config.yaml", assignments=["export.accelerate=true"]
    )
    assert "a second file tuned on this machine" in plan(wanted, stages=("export",))
    assert "a second file" not in plan(finished, stages=("export",))


@pytest.mark.parametrize(("option", "wanted"), [("--accelerate", True), ("--portable", False)])
def test_the_command_line_takes_the_wish(finished: Workspace, option: str, wanted: bool) -> None:
    result = CliRunner().invoke(app, ["export", "--out", str(finished.out), option, "--dry-run"])
    assert result.exit_code == 0
    assert f"accelerate: {str(wanted).lower()}" in result.output
    assert ("a second file" in result.output) == wanted


def test_the_line_says_where_a_ratio_means_nothing() -> None:
    entry = {"accelerated": True, "file": "a.accelerated.onnx", "accelerated_ms": 2.0, "threads": 1}
    noisy = {"median": 14.58, "low": 2.27, "high": 22.43, "n_turns": 9, "too_noisy": True}
    line = export._speed_line({**entry, "speedup": noisy})
    assert "too noisy to say how many times as fast (2.27 to 22.43, " in line
    assert "14.58" not in line
    earlier = export._speed_line({**entry, "speedup": 14.58})  # of a manifest without a range
    assert "measured without a range" in earlier
    assert "14.58" not in earlier
