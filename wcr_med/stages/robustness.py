"""Score the networks of a run on disturbed copies of the test images."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wcr_med.channel_names import flair_of
from wcr_med.config import Config, RobustnessName
from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError
from wcr_med.evaluation.robustness import UNDISTURBED, Networks, RobustnessResult, measure_robustness, n_copies
from wcr_med.files import read_json, sha256_of_file, sha256_of_json, write_json
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.networks import open_model, open_predictor, require_model
from wcr_med.stages.prune import pruned_sparsities
from wcr_med.stages.workspace import DENSE, Workspace, alone, pruned_name

log = logging.getLogger(__name__)


@alone
def robustness_stage(workspace: Workspace) -> str:
    """Score the dense network and each pruned one under the disturbances of `report.robustness`.

    Test patients alone, at most `report.robustness_patients` of them; each network at its own threshold. An interrupted
    measurement goes on at the patient where it stopped. Without disturbances nothing is done, and nothing is written.

    Returns:
        A line for the user.

    Raises:
        UserError: a network is missing, or saw a test patient while it was trained.
    """
    config = workspace.config
    names = wanted_disturbances(config)
    if not names:
        return "robustness: no disturbances in report.robustness, nothing to measure"
    patients = open_patients(workspace)
    entries = choose_patients(patients.of(patients.split.test), config.report.robustness_patients, seed=config.seed)
    networks = network_names(workspace)
    inputs = [require_model(workspace, network) for network in networks]
    key = {
        "network": config.model_dump(mode="json", include={"model", "preprocess"}),
        "networks": networks,
        "disturbances": names,
        "flair_channel": flair_channel(config),
        "patients": [entry.patient_id for entry in entries],
        "seed": config.seed,
        "split": patients.split.hash,
        "data": patients.data_hash,
    }
    workspace.once(
        "robustness",
        key=key,
        inputs=inputs,
        outputs=[robustness_path(workspace)],
        work=lambda: _measure(workspace, patients, entries, networks, names, _finished(workspace, key, inputs)),
    )
    result = load_robustness(robustness_path(workspace))
    return f"robustness: {_line(result)}; see {robustness_path(workspace)}"


def robustness_path(workspace: Workspace) -> Path:
    """Where the result lies."""
    return workspace.out / "robustness.json"


def load_robustness(path: Path) -> RobustnessResult:
    """Read what `robustness_stage` wrote.

    Raises:
        UserError: the file is missing, is not JSON, or is of another schema.
    """
    return RobustnessResult.from_dict(read_json(path), source=str(path))


def network_names(workspace: Workspace) -> list[str]:
    """The dense network, and the pruned ones of the run by rising sparsity; each once."""
    return [DENSE, *(pruned_name(sparsity) for sparsity in pruned_sparsities(workspace.config.pruning))]


def choose_patients(entries: Sequence[PatientEntry], n: int, *, seed: int) -> tuple[PatientEntry, ...]:
    """At most `n` patients, one of each institution in turn, drawn at random; 0: all. In the order they were given."""
    if n == 0 or n >= len(entries):
        return tuple(entries)
    rng = np.random.default_rng(seed)
    members: dict[str, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.patient_id):
        members.setdefault(entry.institution, []).append(entry.patient_id)
    queues = [list(rng.permutation(members[name])) for name in rng.permutation(sorted(members))]
    in_turn = [queue[place] for place in range(len(entries)) for queue in queues if place < len(queue)]
    chosen = set(in_turn[:n])
    return tuple(entry for entry in entries if entry.patient_id in chosen)


def flair_channel(config: Config) -> int | None:
    """Which channel is FLAIR, from 0: the one whose name says so; `None` where none or several do, or it is alone."""
    names = config.channel_names
    return None if names is None or len(names) < 2 else flair_of(names)


def wanted_disturbances(config: Config) -> list[RobustnessName]:
    """Those of `report.robustness`, each once, without a missing channel where it is not known which one is FLAIR."""
    names = list(dict.fromkeys(config.report.robustness))
    if "missing_channel" in names and flair_channel(config) is None:
        log.warning("robustness: missing_channel is left out, since no channel is named FLAIR: see data.channels")
        names.remove("missing_channel")
    return names


def _finished(workspace: Workspace, key: dict[str, Any], inputs: Sequence[Path]) -> Path:
    """The folder for patients that are done with these very settings and networks."""
    fingerprint = sha256_of_json({"key": key, "inputs": [sha256_of_file(path) for path in inputs]})
    return workspace.out / ".robustness" / fingerprint[:16]


def _measure(
    workspace: Workspace,
    patients: Patients,
    entries: Sequence[PatientEntry],
    networks: Sequence[str],
    names: Sequence[RobustnessName],
    finished: Path,
) -> None:
    config = workspace.config
    predictors = _open(workspace, patients, networks)
    copies = n_copies(names, config.model.in_channels)
    log.info(
        "robustness: %d patients, %d images each, %d networks: as much work as %d evaluations without distances",
        len(entries),
        copies,
        len(networks),
        copies * len(networks),
    )
    result = measure_robustness(
        predictors,
        entries,
        names=names,
        seed=config.seed,
        flair_channel=flair_channel(config),
        progress=True,
        keep=finished,
    )
    write_json(robustness_path(workspace), result.to_dict())
    shutil.rmtree(finished.parent, ignore_errors=True)


def _open(workspace: Workspace, patients: Patients, networks: Sequence[str]) -> Networks:
    opened = {}
    for network in networks:
        model, artefact = open_model(workspace, network)
        artefact.refuse_leak(patients.split.test)
        if artefact.threshold is None:
            raise UserError(f"{workspace.model_path(network)}: holds no operating threshold; train or prune it again")
        opened[network] = open_predictor(workspace, model), artefact.threshold
    return opened


def _line(result: RobustnessResult) -> str:
    """The largest loss of mean Dice of each network, over patients whose Dice exists on both images."""
    parts = []
    for base in (point for point in result.points if point.disturbance == UNDISTURBED):
        losses = {}
        for point in result.points:
            if point.network == base.network and point.disturbance != UNDISTURBED:
                differences = np.array([base.dice[patient] - dice for patient, dice in point.dice.items()])
                if np.isfinite(differences).any():
                    losses[f"{point.disturbance} {point.strength:g}"] = float(np.nanmean(differences))
        if losses:
            worst = max(losses, key=lambda name: losses[name])
            parts.append(f"{base.network} loses at most {losses[worst]:.4f} of Dice ({worst})")
    return ", ".join(parts) or "no patient has a Dice"
