"""Measure the exported files on this machine: size, parity, latency, memory."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.data.index import load_volume
from wcr_med.errors import UserError
from wcr_med.export.accelerated import timing_sample
from wcr_med.export.sessions import open_session, require_accelerator
from wcr_med.files import read_json, sha256_of_file, write_json
from wcr_med.provenance import available_cores, processor_name
from wcr_med.report.clinical.inputs import Deployment, Latency
from wcr_med.runtime.peak_memory import measure_peak_memory
from wcr_med.stages.export import accelerated_manifest, accelerated_path, manifest_path
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.robustness import network_names
from wcr_med.stages.workspace import DENSE, Workspace, alone
from wcr_med.timing import SpeedRatio, speed_ratio, time_in_turn

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
_READS = (1, SCHEMA_VERSION)
"""Schema 1 had no ratio to the dense file."""


@dataclass(frozen=True, kw_only=True)
class _File:
    """An exported file and what its manifest says.

    Attributes:
        network: its name.
        path: the file.
        size_bytes: its size; `dense_bytes` that of the same network's file with every weight stored.
        parity: to PyTorch: largest difference of logits, of Dice, and slices compared.
        accelerated: it needs the package's own operators.
    """

    network: str
    path: Path
    size_bytes: int
    dense_bytes: int
    parity: tuple[float, float, int]
    accelerated: bool = False


@alone
def deployment_stage(workspace: Workspace) -> str:
    """Measure the files of the dense network and of each pruned one; write `export/NAME.deployment.json` for each.

    All files run in one process, in turn, on one slice of a test patient, with one thread and with all. Done once for
    the same files, number of runs and processor.

    Returns:
        A line for the user with the median times of dense and pruned.

    Raises:
        UserError: a network was not exported, or a file is not the one that its manifest describes.
    """
    names, runs = network_names(workspace), workspace.config.report.bench_runs
    files = [file for name in names for file in exported_files(workspace, name)]
    patients = open_patients(workspace)
    threads = sorted({1, available_cores()})
    runnable = [file.path.name for file in files if _runs_here(file)]
    workspace.once(
        "deployment",
        key={
            "runs": runs,
            "processor": processor_name(),
            "threads": threads,
            "runnable": runnable,
            "data": patients.data_hash,
        },
        inputs=[path for file in files for path in (file.path, _manifest(workspace, file))],
        outputs=[deployment_path(workspace.out, name) for name in names],
        work=lambda: _measure(
            workspace,
            files,
            runnable,
            timing_sample(load_volume(patients.of(patients.split.test)[0]), workspace.settings),
            threads=threads,
            n_runs=runs,
        ),
    )
    return _line({name: load_deployments(workspace.out, name) for name in names})


def deployment_path(out: Path, name: str) -> Path:
    """Where the measurements of the files of the network called `name` lie."""
    return out / "export" / f"{name}.deployment.json"


def load_deployments(out: Path, name: str) -> tuple[Deployment, ...]:
    """Read what `deployment_stage` wrote for one network, the portable file first; empty where it wrote nothing.

    Raises:
        UserError: the file is not JSON, is of another schema, or a field is missing or unknown.
    """
    path = deployment_path(out, name)
    if not path.exists():
        return ()
    document = read_json(path)
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version not in _READS:
        raise UserError(f"{path}: schema version {version!r}, expected {SCHEMA_VERSION}; delete it and measure again")
    try:
        return tuple(
            Deployment(**{**file, "latency": tuple(map(_latency, file["latency"]))}) for file in document["files"]
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: a field is missing or unknown ({error}); delete it and measure again") from None


def exported_files(workspace: Workspace, name: str) -> list[_File]:
    """The portable file of a network, and the accelerated one where there is one.

    An accelerated file that is a copy of the portable one, since nothing was faster, is not listed again. The
    accelerated file was compared with the portable one; its differences to PyTorch are bounds, the sums of both.

    Raises:
        UserError: the network was not exported, or a file is not the one that the manifest describes.
    """
    portable = workspace.onnx_path(name)
    if not portable.exists():
        raise UserError(f"{portable}: no such file; run `wcr-med export --model {name}` first")
    manifest = read_json(manifest_path(portable))
    try:
        parity = _parity(manifest["parity"])
        found = [_file(name, portable, manifest, manifest["dense_size_bytes"], parity)]
        second = accelerated_manifest(portable)
        if second is not None and second["accelerated"]:
            own = _parity(second["parity"])
            both = (parity[0] + own[0], parity[1] + own[1], min(parity[2], own[2]))
            fast = _file(name, accelerated_path(portable), second, manifest["dense_size_bytes"], both, accelerated=True)
            found.append(fast)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{manifest_path(portable)}: a field is missing or unknown ({error}); export the network again"
        ) from None
    return found


def _manifest(workspace: Workspace, file: _File) -> Path:
    """Where what is known about a file stands; of the accelerated ones of earlier versions, beside the portable one."""
    own = manifest_path(file.path)
    return own if own.exists() else manifest_path(workspace.onnx_path(file.network))


def _parity(report: Mapping[str, Any]) -> tuple[float, float, int]:
    return report["largest_logit_difference"], report["largest_dice_difference"], report["n_slices"]


def _file(
    network: str,
    path: Path,
    entry: Mapping[str, Any],
    dense_bytes: int,
    parity: tuple[float, float, int],
    *,
    accelerated: bool = False,
) -> _File:
    if not path.exists() or sha256_of_file(path) != entry["sha256"]:
        raise UserError(f"{path}: is not the file that its manifest describes; export the network again")
    return _File(
        network=network,
        path=path,
        size_bytes=entry["size_bytes"],
        dense_bytes=dense_bytes,
        parity=parity,
        accelerated=accelerated,
    )


def _runs_here(file: _File) -> bool:
    """Accelerated files need the accelerator."""
    if not file.accelerated:
        return True
    try:
        require_accelerator()
    except UserError as error:
        log.warning("%s: not measured: %s", file.path, error)
        return False
    return True


def _measure(
    workspace: Workspace,
    files: Sequence[_File],
    runnable: Sequence[str],
    sample: Mapping[str, Array],
    *,
    threads: Sequence[int],
    n_runs: int,
) -> None:
    paths = {file.path.name: file.path for file in files if file.path.name in runnable}
    latency: dict[str, list[Latency]] = {file.path.name: [] for file in files}
    dense = workspace.onnx_path(DENSE).name
    for number in threads:
        log.info("deployment: timing %d files, %d runs each, %d threads", len(paths), n_runs, number)
        sessions = {name: open_session(path, threads=number) for name, path in paths.items()}
        runs = {name: partial(session.run, None, sample) for name, session in sessions.items()}
        found = time_in_turn(runs, n_runs)
        for name, times in found.items():
            p50_ms, p95_ms = np.percentile(times, (50, 95))
            latency[name].append(
                Latency(
                    threads=number,
                    p50_ms=float(p50_ms),
                    p95_ms=float(p95_ms),
                    n_runs=n_runs,
                    to_dense=speed_ratio(found[dense], times) if dense in found and name != dense else None,
                )
            )
        del sessions, runs  # their threads end
    memory = {name: measure_peak_memory(path, sample) for name, path in paths.items()}
    for network in dict.fromkeys(file.network for file in files):
        measured = [
            Deployment(
                file=file.path.name,
                size_bytes=file.size_bytes,
                dense_bytes=file.dense_bytes,
                logit_difference=file.parity[0],
                dice_difference=file.parity[1],
                n_slices=file.parity[2],
                latency=tuple(latency[file.path.name]),
                peak_memory_bytes=memory.get(file.path.name),
                processor=processor_name(),
                accelerated=file.accelerated,
            )
            for file in files
            if file.network == network
        ]
        document = {"schema_version": SCHEMA_VERSION, "network": network, "files": [asdict(row) for row in measured]}
        write_json(deployment_path(workspace.out, network), document)


def _latency(entry: Mapping[str, Any]) -> Latency:
    ratio = entry.get("to_dense")
    return Latency(**{**entry, "to_dense": None if ratio is None else SpeedRatio(**ratio)})


def _line(found: Mapping[str, Sequence[Deployment]]) -> str:
    times = [f"{row.file} {row.latency[0].p50_ms:.1f} ms" for rows in found.values() for row in rows if row.latency]
    ratios = [
        f"{row.file} against the dense file: {row.latency[0].to_dense.words}"
        for rows in found.values()
        for row in rows
        if row.latency and row.latency[0].to_dense is not None
    ]
    return "; ".join([f"deployment: median time of a slice on one thread: {', '.join(times)}", *ratios])
