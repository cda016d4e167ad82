"""Sparsity against Dice: each sparsity with and without re-estimated statistics, on test patients."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError
from wcr_med.evaluation import evaluate_patients
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.networks import open_dense, open_predictor, require_model
from wcr_med.stages.prune import pruned_copy
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace

log = logging.getLogger(__name__)


def ladder_stage(workspace: Workspace) -> None:
    """Score every rung of `pruning.ladder`; each rung is a folder with its metrics.json, done once.

    Every rung starts from the dense network, and chooses its own threshold on validation patients.
    """
    patients = open_patients(workspace)
    dense = require_model(workspace, DENSE)
    open_dense(workspace, patients.split)[1].refuse_leak(patients.split.test)
    for sparsity in workspace.config.pruning.ladder:
        for reestimate in (False, True):
            folder = rung_folder(workspace, sparsity, reestimate=reestimate)
            workspace.once(
                f"ladder-{folder.name}",
                key=_key(workspace, patients, sparsity, reestimate=reestimate),
                inputs=[dense],
                outputs=[folder / "metrics.json"],
                work=partial(_score, workspace, patients, sparsity, reestimate, folder),
            )


def rung_folder(workspace: Workspace, sparsity: float, *, reestimate: bool) -> Path:
    """Where one rung's scores lie."""
    return workspace.out / "ladder" / (f"{100 * sparsity:.6g}" + ("-reestimated" if reestimate else ""))


def _key(workspace: Workspace, patients: Patients, sparsity: float, *, reestimate: bool) -> dict[str, Any]:
    config = workspace.config
    return {
        "sparsity": sparsity,
        "score": config.pruning.score,
        "reestimate_slices": config.pruning.reestimate_slices if reestimate else 0,
        "sampling": [config.seed, config.training.other_per_tumour],
        "evaluation": config.evaluation.model_dump(mode="json"),
        "split": patients.split.hash,
        "data": patients.data_hash,
    }


def _score(workspace: Workspace, patients: Patients, sparsity: float, reestimate: bool, folder: Path) -> None:
    config = workspace.config
    cache = open_cache(workspace, patients)
    dense = open_dense(workspace, patients.split)
    model, artefact, _ = pruned_copy(workspace, cache, patients, dense, sparsity=sparsity, reestimate=reestimate)
    artefact = with_threshold(workspace, patients, model, artefact)
    if artefact.threshold is None:
        raise UserError("no operating threshold was chosen; set evaluation.threshold")
    result = evaluate_patients(
        open_predictor(workspace, model),
        patients.of(patients.split.test),
        threshold=artefact.threshold,
        config=config.evaluation,
        seed=config.seed,
        split_hash=patients.split.hash,
        distances=False,
        progress=True,
    )
    result.save(folder)
    log.info(
        "%g %% sparsity%s: dice_patient %.4f, f1_pooled %.4f",
        100 * sparsity,
        ", statistics re-estimated" if reestimate else "",
        result.value("dice_patient"),
        result.value("f1_pooled"),
    )
