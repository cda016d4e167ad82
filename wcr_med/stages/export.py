"""Write a network as ONNX, after checking it against PyTorch on real slices."""

from pathlib import Path

from wcr_med.data.index import load_volume
from wcr_med.export import export_model
from wcr_med.files import read_json, write_json
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.networks import open_model, require_model
from wcr_med.stages.workspace import DENSE, Workspace


def export_stage(workspace: Workspace, name: str = DENSE) -> str:
    """Export the network called `name` to `export/NAME.onnx`, with a manifest beside it.

    Returns:
        A line for the user with the size and the largest difference to PyTorch.

    Raises:
        UserError: there is no such network, or its outputs differ by more than the tolerances; then nothing is written.
    """
    patients = open_patients(workspace)
    path, target = require_model(workspace, name), workspace.onnx_path(name)
    workspace.once(
        f"export-{name}",
        key={
            "export": workspace.config.export.model_dump(mode="json"),
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[path],
        outputs=[target, manifest_path(target)],
        work=lambda: _export(workspace, patients, name, target),
    )
    manifest = read_json(manifest_path(target))
    return (
        f"{target}: {manifest['size_bytes'] / 1e6:.2f} MB (dense {manifest['dense_size_bytes'] / 1e6:.2f} MB),"
        f" largest logit difference to PyTorch {manifest['parity']['largest_logit_difference']:.1e}"
    )


def manifest_path(onnx_path: Path) -> Path:
    """Where the manifest of an exported file lies: sizes, storage of each tensor, parity."""
    return onnx_path.with_suffix(".json")


def _export(workspace: Workspace, patients: Patients, name: str, target: Path) -> None:
    model, artefact = open_model(workspace, name)
    volumes = (load_volume(entry) for entry in patients.of(patients.split.test))
    data = workspace.config.data
    channel_files = data.nifti.channels if data.format == "nifti" else None
    result = export_model(
        model, artefact, workspace.config.export, parity_volumes=volumes, out_path=target, channel_files=channel_files
    )
    write_json(manifest_path(target), result.to_dict())
