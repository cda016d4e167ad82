"""The ladder takes the networks that the run has pruned already, and repairs none twice."""

import shutil
from pathlib import Path

import pytest

from wcr_med.stages import ladder
from wcr_med.stages.ladder import ladder_stage, rung_folder
from wcr_med.stages.workspace import Workspace


def test_the_runs_own_network_is_a_rung(finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    workspace = Workspace(out=tmp_path / "run", config=finished.config)
    folder = rung_folder(workspace, workspace.config.pruning.sparsity, repaired=True)
    before = (folder / "metrics.json").read_bytes()
    shutil.rmtree(folder)
    monkeypatch.setattr(ladder, "pruned_copy", None)  # nothing is pruned here
    ladder_stage(workspace)
    assert (folder / "metrics.json").read_bytes() == before
