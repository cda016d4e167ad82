"""`wcr-med export --int8`: the file that computes in INT8."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wcr_med.cli import app
from wcr_med.export import QuantisedResult, export_quantised
from wcr_med.files import sha256_of_file
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import manifest_path, quantised_path
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import Workspace, open_workspace

LOOSE = ("--set", "export.quantised_dice_tolerance=1", "--set", "export.quantised_voxel_tolerance=1")


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(finished.out, tmp_path / "run")
    return open_workspace(tmp_path / "run", config_path=None)


def test_export_int8(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated_on: list[str] = []

    def recording(real: Callable[..., QuantisedResult]) -> Callable[..., QuantisedResult]:
        def export(*arguments: Any, calibration_volumes: Any, **options: Any) -> QuantisedResult:
            volumes = list(calibration_volumes)
            calibrated_on.extend(volume.patient_id for volume in volumes)
            return real(*arguments, calibration_volumes=volumes, **options)

        return export

    monkeypatch.setattr("wcr_med.stages.export.export_quantised", recording(export_quantised))
    arguments = ["export", "--out", str(workspace.out), "--model", "pruned-90", *LOOSE, "--int8"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    target = quantised_path(workspace.onnx_path("pruned-90"))
    manifest = json.loads(manifest_path(target).read_text())
    assert target.name == manifest["file"] == "pruned-90.int8.onnx"
    assert manifest["sha256"] == sha256_of_file(target)
    assert f"Dice differs by {manifest['parity']['largest_dice_difference']:.4f} at most" in result.output
    split = open_patients(workspace).split
    assert calibrated_on
    assert set(calibrated_on) <= set(split.train)

    assert "on 3 patients" in evaluate_stage(workspace, "pruned-90.int8", onnx=True)
    written = target.stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert target.stat().st_mtime_ns == written


def test_a_file_of_an_unknown_network_is_removed(workspace: Workspace) -> None:
    target = quantised_path(workspace.onnx_path("pruned-90"))
    target.write_text("of older weights")
    again = ["export", "--out", str(workspace.out), "--model", "pruned-90", "--storage", "dense"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert not target.exists()


def test_a_file_that_fails_the_gate_is_not_written(workspace: Workspace) -> None:
    strict = ("--set", "export.quantised_dice_tolerance=1e-12", "--set", "export.quantised_voxel_tolerance=1e-12")
    result = CliRunner().invoke(app, ["export", "--out", str(workspace.out), "--model", "pruned-90", *strict, "--int8"])
    assert result.exit_code != 0
    assert not quantised_path(workspace.onnx_path("pruned-90")).exists()
    assert workspace.onnx_path("pruned-90").exists()
