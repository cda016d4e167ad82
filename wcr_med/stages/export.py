"""Write a network as ONNX, after checking it against PyTorch on real slices."""

from pathlib import Path
from typing import Any

from wcr_med.data.index import load_volume
from wcr_med.export import (
    export_accelerated,
    export_model,
    export_quantised,
    licence_of,
    require_accelerator,
    standalone_of,
)
from wcr_med.files import read_json, write_json
from wcr_med.runtime.timing import SpeedRatio
from wcr_med.stages.image_statistics import described
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.networks import open_model, require_model
from wcr_med.stages.workspace import DENSE, Workspace, alone

_CALIBRATION_PATIENTS = 16


@alone
def export_stage(workspace: Workspace, name: str = DENSE, *, standalone: bool = False, quantised: bool = False) -> str:
    """Export the network called `name` to `export/NAME.onnx`, with a manifest beside it.

    With `export.accelerate`, also to `export/NAME.accelerated.onnx`, which is tuned on this machine; with `standalone`,
    also to `export/NAME.standalone.onnx`, which holds the preprocessing, too; with `quantised`, also to
    `export/NAME.int8.onnx`, which computes in INT8.

    Returns:
        A line for the user with the size, the largest difference to PyTorch, and how much faster the accelerated file.

    Raises:
        UserError: there is no such network, the accelerator is wanted and absent, or the outputs differ by more than
            the tolerances. Then the file in question is not written, and an older accelerated file does not outlive the
            portable one that it was made with.
    """
    if workspace.config.export.accelerate:
        require_accelerator()
    patients = open_patients(workspace)
    path, target = require_model(workspace, name), workspace.onnx_path(name)
    workspace.once(
        f"export-{name}",
        key={
            "export": workspace.config.export.model_dump(mode="json"),
            "licence": licence_of(workspace.config.card),
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[path],
        outputs=[target, manifest_path(target), *_wanted_accelerated(workspace, target)],
        work=lambda: _export(workspace, patients, name, target),
    )
    manifest = read_json(manifest_path(target))
    line = (
        f"{target}: {manifest['size_bytes'] / 1e6:.2f} MB (dense {manifest['dense_size_bytes'] / 1e6:.2f} MB),"
        f" largest logit difference to PyTorch {manifest['parity']['largest_logit_difference']:.1e}"
    )
    line += f"; {_speed_line(manifest['accelerated'])}" if "accelerated" in manifest else ""
    line += f"; {_standalone(workspace, patients, name, target)}" if standalone else ""
    return f"{line}; {_quantised(workspace, patients, name, target)}" if quantised else line


def manifest_path(onnx_path: Path) -> Path:
    """Where the manifest of an exported file lies: sizes, storage of each tensor, parity, speed."""
    return onnx_path.with_suffix(".json")


def accelerated_path(onnx_path: Path) -> Path:
    """Where the accelerated file of an exported network lies."""
    return onnx_path.with_suffix(".accelerated.onnx")


def standalone_path(onnx_path: Path) -> Path:
    """Where the standalone file of an exported network lies."""
    return onnx_path.with_suffix(".standalone.onnx")


def quantised_path(onnx_path: Path) -> Path:
    """Where the file of an exported network that computes in INT8 lies."""
    return onnx_path.with_suffix(".int8.onnx")


def _wanted_accelerated(workspace: Workspace, target: Path) -> list[Path]:
    return [accelerated_path(target)] if workspace.config.export.accelerate else []


def _speed_line(accelerated: dict[str, Any]) -> str:
    if not accelerated["accelerated"]:
        return f"{accelerated['file']} is the same file, since {accelerated['why_not']}"
    threads, speedup = accelerated["threads"], accelerated["speedup"]
    took = f"{accelerated['accelerated_ms']:.1f} ms a slice, {threads} thread{'s' if threads > 1 else ''}"
    if not isinstance(speedup, dict):  # of an earlier version, which measured no range
        return (
            f"{accelerated['file']}: {took}; how many times as fast as ONNX Runtime alone was measured without a range"
        )
    ratio = SpeedRatio(**{name: speedup[name] for name in ("median", "low", "high", "n_turns")})
    return f"{accelerated['file']}: {took}; against ONNX Runtime alone {ratio.words}"


def _standalone(workspace: Workspace, patients: Patients, name: str, portable: Path) -> str:
    target = standalone_path(portable)
    n_slices = workspace.config.export.parity_slices

    def work() -> None:
        volumes = map(load_volume, patients.of(patients.split.test))
        write_json(manifest_path(target), standalone_of(portable, target, volumes=volumes, n_slices=n_slices).to_dict())

    workspace.once(
        f"standalone-{name}",
        key={"n_slices": n_slices, "split": patients.split.hash, "data": patients.data_hash},
        inputs=[portable],
        outputs=[target, manifest_path(target)],
        work=work,
    )
    manifest = read_json(manifest_path(target))
    parity = manifest["parity"]
    return (
        f"{target.name}: {manifest['size_bytes'] / 1e6:.2f} MB, the same masks on {parity['n_slices']} slices of"
        f" {parity['n_patients']} patients"
    )


def _quantised(workspace: Workspace, patients: Patients, name: str, portable: Path) -> str:
    target, config = quantised_path(portable), workspace.config.export
    # Spread over the index, which is sorted by institution.
    learned = patients.of(patients.split.train)[:: max(1, len(patients.split.train) // _CALIBRATION_PATIENTS)]

    def work() -> None:
        model, artefact = open_model(workspace, name)
        artefact.refuse_leak(patients.split.test)
        result = export_quantised(
            model,
            described(workspace, patients, artefact),
            config,
            portable=portable,
            calibration_volumes=map(load_volume, learned),
            parity_volumes=lambda: map(load_volume, patients.of(patients.split.test)),
            out_path=target,
            channel_files=_channel_files(workspace),
            licence=licence_of(workspace.config.card),
        )
        write_json(manifest_path(target), result.to_dict())

    workspace.once(
        f"int8-{name}",
        key={
            "export": config.model_dump(mode="json"),
            "licence": licence_of(workspace.config.card),
            "calibration": [entry.patient_id for entry in learned],
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[workspace.model_path(name), portable],
        outputs=[target, manifest_path(target)],
        work=work,
    )
    manifest = read_json(manifest_path(target))
    parity = manifest["parity"]
    return (
        f"{target.name}: {manifest['size_bytes'] / 1e6:.2f} MB, Dice differs by {parity['largest_dice_difference']:.4f}"
        f" at most and {parity['differing_share']:.2e} of the voxels change sides on {parity['n_slices']} slices of"
        f" {parity['n_patients']} patients; layers left in float32: {', '.join(manifest['kept_fp32']) or 'none'}"
    )


def _channel_files(workspace: Workspace) -> tuple[str, ...] | None:
    data = workspace.config.data
    return data.nifti.patterns if data.format == "nifti" else None


def _export(workspace: Workspace, patients: Patients, name: str, target: Path) -> None:
    model, artefact = open_model(workspace, name)
    artefact = described(workspace, patients, artefact)
    entries = patients.of(patients.split.test)
    config = workspace.config.export
    result = export_model(
        model,
        artefact,
        config,
        parity_volumes=map(load_volume, entries),
        out_path=target,
        channel_files=_channel_files(workspace),
        licence=licence_of(workspace.config.card),
    )
    manifest = result.to_dict()
    fast = accelerated_path(target)
    for old in (fast, standalone_path(target), quantised_path(target)):
        old.unlink(missing_ok=True)  # one of an older network would pass for this one's
    write_json(manifest_path(target), manifest)  # the second file may be refused; this one is there by now
    if config.accelerate:
        accelerated = export_accelerated(result, config, parity_volumes=map(load_volume, entries), out_path=fast)
        write_json(manifest_path(target), {**manifest, "accelerated": accelerated.to_dict()})
