"""`wcr-med export --standalone`: the file for programs without this package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.exported import open_session
from wcr_med.cli import app
from wcr_med.data.index import load_volume
from wcr_med.runtime import Segmenter
from wcr_med.stages.export import manifest_path, standalone_path
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(finished.out, tmp_path / "run")
    return open_workspace(tmp_path / "run", config_path=None)


def test_export_standalone(workspace: Workspace) -> None:
    arguments = ["export", "--out", str(workspace.out), "--model", "pruned-90", "--standalone"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    portable = workspace.onnx_path("pruned-90")
    target = standalone_path(portable)
    assert target.name == "pruned-90.standalone.onnx"
    assert "pruned-90.standalone.onnx: " in result.output
    manifest = json.loads(manifest_path(target).read_text())
    assert manifest["parity"]["n_differing_voxels"] == 0
    assert f"the same masks on {manifest['parity']['n_slices']} slices of" in result.output

    segmenter, session = Segmenter.from_file(portable, threads=1), open_session(target)
    for entry in open_patients(workspace).entries[:3]:
        image_SHWC = load_volume(entry).image_SHWC
        (mask_SHW,) = session.run(["mask"], {"image": image_SHWC})
        np.testing.assert_array_equal(mask_SHW, segmenter.mask(image_SHWC))

    written = target.stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert target.stat().st_mtime_ns == written
    again = ["export", "--out", str(workspace.out), "--model", "pruned-90", "--storage", "dense"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert target.stat().st_mtime_ns == written  # of the same network
