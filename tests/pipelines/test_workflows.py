"""The same job through MONAI's door."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from pipelines import workflows
from wcr_med.errors import UserError
from wcr_med.stages.workspace import Workspace

ROOT = Path(__file__).parents[2]
METADATA = ROOT / "configs" / "metadata.json"

_VERSIONS = ("version", "monai_version", "pytorch_version", "numpy_version")
_TENSOR = {
    "type": "object",
    "required": [
        "type",
        "format",
        "num_channels",
        "spatial_shape",
        "dtype",
        "value_range",
        "is_patch_data",
        "channel_def",
    ],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
# What MONAI's bundle specification asks of a metadata.json; its own schema file cannot be fetched in a test.
_SCHEMA = {
    "type": "object",
    "required": [
        *_VERSIONS, "required_packages_version", "task", "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        **{name: {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"} for name in _VERSIONS},
        "schema": {"type": "string", "pattern": "^https://.*json$"},
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "required": ["image"], "additionalProperties": _TENSOR},
                "outputs": {"type": "object", "required": ["pred"], "additionalProperties": _TENSOR},
            },
        },
    },
}  # fmt: skip


def test_the_metadata_follow_the_bundle_specification() -> None:
    metadata = json.loads(METADATA.read_text())
    jsonschema.validate(metadata, _SCHEMA)
    assert metadata["version"] in metadata["changelog"]


def test_the_metadata_have_the_version_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'^version = "(.*)"$', project, flags=re.MULTILINE)
    assert found
    assert json.loads(METADATA.read_text())["version"] == found[1]


def test_properties_come_from_the_metadata(finished: Workspace) -> None:
    workflow = workflows.RunWorkflow(out=str(finished.out))
    assert workflow.version == "0.1.0"
    assert workflow.channel_def == {"0": "FLAIR abnormality, logit"}
    workflow.version = "9"
    assert workflow.version == "9"
    assert workflow.check_properties() == []


def test_overrides_reach_the_configuration(finished: Workspace) -> None:
    workflow = workflows.TrainWorkflow(out=str(finished.out), **{"training#epoch": 3})
    with pytest.raises(UserError, match=r"did you mean training\.epochs"):
        workflow.initialize()


def test_every_stage_has_a_workflow(finished: Workspace, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    shutil.copytree(finished.out, out)
    for workflow in (
        workflows.TrainWorkflow(out=out),
        workflows.PruneWorkflow(out=out, **{"pruning#sparsity": 0.7}),
        workflows.EvaluateWorkflow(out=out, model="pruned-70"),
        workflows.ExportWorkflow(out=out, model="pruned-70"),
        workflows.RunWorkflow(out=out),
        workflows.ReportWorkflow(out=out, **{"card#model_name": "named by an override"}),
    ):
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    assert (Path(out) / "export" / "pruned-70.onnx").exists()
    assert "named by an override" in (Path(out) / "report" / "model_card.json").read_text()


def test_run_workflow_on_the_command_line(finished: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    (out / "summary.md").unlink()
    command = [
        sys.executable, "-m", "monai.bundle", "run_workflow", "--workflow_name", "pipelines.workflows.RunWorkflow",
        "--meta_file", str(METADATA), "--out", str(out), "--report#permutations", "60",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "summary.md").exists()
    assert "permutations: 60" in (out / "config.yaml").read_text()
