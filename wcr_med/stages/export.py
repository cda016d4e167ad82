"""Write a network as ONNX, after checking it against PyTorch on real slices."""

import logging
from pathlib import Path
from typing import Any

from wcr_med.config import ExportConfig
from wcr_med.data.index import load_volume
from wcr_med.errors import UserError
from wcr_med.export import (
    export_accelerated,
    export_model,
    export_quantised,
    licence_of,
    require_accelerator,
    standalone_of,
)
from wcr_med.files import read_json, sha256_of_file, write_json
from wcr_med.stages.image_statistics import described
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.networks import open_model, require_model
from wcr_med.stages.workspace import DENSE, Workspace, alone
from wcr_med.timing import SpeedRatio

log = logging.getLogger(__name__)

_CALIBRATION_PATIENTS = 16
_NETWORK = "network_sha256"  # in every manifest: of the network that the file was made from


@alone
def export_stage(workspace: Workspace, name: str = DENSE, *, standalone: bool = False, quantised: bool = False) -> str:
    """Export the network called `name` to `export/NAME.onnx`, with a manifest beside it.

    With `export.accelerate`, also to `export/NAME.accelerated.onnx`, which is tuned on this machine; with `standalone`,
    also to `export/NAME.standalone.onnx`, which holds the preprocessing, too; with `quantised`, also to
    `export/NAME.int8.onnx`, which computes in INT8. Each has a manifest and a record of its own: a form that is not
    asked for stays as it is, until the network of that name is another one. Then it is removed, which the log says.

    Returns:
        A line for the user with the size, the largest difference to PyTorch, and how much faster the accelerated file.

    Raises:
        UserError: there is no such network, the accelerator is wanted and absent, or the outputs differ by more than
            the tolerances. Then the file in question is not written; an older one of the same network stays.
    """
    config = workspace.config.export
    if config.accelerate:
        require_accelerator()
    patients = open_patients(workspace)
    path, target = require_model(workspace, name), workspace.onnx_path(name)
    workspace.once(
        f"export-{name}",
        key={
            "export": _fields(config, but=("accelerate", "quantised_")),
            "licence": licence_of(workspace.config.card),
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[path],
        outputs=[target, manifest_path(target)],
        work=lambda: _export(workspace, patients, name, target),
    )
    _remove_of_other_networks(target, sha256_of_file(path))
    manifest = read_json(manifest_path(target))
    line = (
        f"{target}: {manifest['size_bytes'] / 1e6:.2f} MB (dense {manifest['dense_size_bytes'] / 1e6:.2f} MB),"
        f" largest logit difference to PyTorch {manifest['parity']['largest_logit_difference']:.1e}"
    )
    line += f"; {_accelerated(workspace, patients, name, target)}" if config.accelerate else ""
    line += f"; {_standalone(workspace, patients, name, target)}" if standalone else ""
    return f"{line}; {_quantised(workspace, patients, name, target)}" if quantised else line


def manifest_path(onnx_path: Path) -> Path:
    """Where the manifest of an exported file lies: sizes, storage of each tensor, parity, speed, its network."""
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


def accelerated_manifest(onnx_path: Path) -> dict[str, Any] | None:
    """The manifest of the accelerated file of an exported network; `None` where there is none of this network.

    Runs of earlier versions kept it within the portable file's.

    Raises:
        UserError: a manifest is not JSON.
    """
    portable = read_json(manifest_path(onnx_path))
    own = manifest_path(accelerated_path(onnx_path))
    if not own.exists():
        within: dict[str, Any] | None = portable.get("accelerated")
        return within
    manifest: dict[str, Any] = read_json(own)
    return manifest if manifest.get(_NETWORK) == portable.get(_NETWORK) else None


def _fields(config: ExportConfig, *, but: tuple[str, ...]) -> dict[str, Any]:
    """The fields whose names do not begin like one of `but`."""
    document: dict[str, Any] = config.model_dump(mode="json")
    return {name: value for name, value in document.items() if not name.startswith(but)}


def _remove_of_other_networks(portable: Path, network_sha256: str) -> None:
    """Remove the other forms of what was a network of this name: one of older weights would pass for this one's."""
    for path in (accelerated_path(portable), standalone_path(portable), quantised_path(portable)):
        if not path.exists() or _network_of(manifest_path(path)) == network_sha256:
            continue
        why = "its manifest does not say from which network it was made"
        if _network_of(manifest_path(path)) is not None:
            why = "it was made from another network of that name"
        path.unlink()
        manifest_path(path).unlink(missing_ok=True)
        log.warning("%s: removed, since %s; export it again", path, why)


def _network_of(manifest: Path) -> str | None:
    """The hash of the network that a file was made from; `None` where its manifest does not tell."""
    try:
        document = read_json(manifest)
    except UserError:
        return None
    return document.get(_NETWORK) if isinstance(document, dict) else None


def _write_manifest(path: Path, document: dict[str, Any], network: Path) -> None:
    write_json(manifest_path(path), {**document, _NETWORK: sha256_of_file(network)})


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


def _accelerated(workspace: Workspace, patients: Patients, name: str, portable: Path) -> str:
    target, config = accelerated_path(portable), workspace.config.export

    def work() -> None:
        volumes = map(load_volume, patients.of(patients.split.test))
        result = export_accelerated(portable, config, parity_volumes=volumes, out_path=target)
        _write_manifest(target, result.to_dict(), workspace.model_path(name))

    workspace.once(
        f"accelerated-{name}",
        key={
            "export": _fields(config, but=("quantised_", "logit_", "dice_", "lossy_", "remove_")),
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[workspace.model_path(name), portable],
        outputs=[target, manifest_path(target)],
        work=work,
    )
    return _speed_line(read_json(manifest_path(target)))


def _standalone(workspace: Workspace, patients: Patients, name: str, portable: Path) -> str:
    target = standalone_path(portable)
    n_slices = workspace.config.export.parity_slices

    def work() -> None:
        volumes = map(load_volume, patients.of(patients.split.test))
        result = standalone_of(portable, target, volumes=volumes, n_slices=n_slices)
        _write_manifest(target, result.to_dict(), workspace.model_path(name))

    workspace.once(
        f"standalone-{name}",
        key={"n_slices": n_slices, "split": patients.split.hash, "data": patients.data_hash},
        inputs=[workspace.model_path(name), portable],
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
        _write_manifest(target, result.to_dict(), workspace.model_path(name))

    workspace.once(
        f"int8-{name}",
        key={
            "export": _fields(config, but=("accelerate", "values", "logit_", "dice_", "lossy_")),
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
    _write_manifest(target, result.to_dict(), workspace.model_path(name))
