"""Sparsity against Dice: each sparsity as pruned and repaired, on test patients."""

import logging
from collections.abc import Callable
from functools import cache as remembered
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.errors import UserError
from wcr_med.evaluation import evaluate_patients
from wcr_med.evaluation.result import RESULT_FILES, SCHEMA_VERSION
from wcr_med.pruning import Measured, repair_in_words
from wcr_med.stages.inputs import Patients, declared_spacing, open_cache, open_patients
from wcr_med.stages.networks import open_dense, open_model, open_predictor, require_model
from wcr_med.stages.plan import hold_plan
from wcr_med.stages.prune import (
    at_sparsity,
    check_pruning,
    measure_dense,
    prune_stage,
    pruned_copy,
    pruned_sparsities,
)
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, alone, pruned_name

log = logging.getLogger(__name__)


@alone
def ladder_stage(workspace: Workspace) -> None:
    """Score every rung of `pruning.ladder`, without and with the steps of `pruning.repair`; each is done once.

    Each rung starts from the dense network, and chooses its own threshold on validation patients. None is fine-tuned:
    the ladder is one-shot.
    """
    check_pruning(workspace.config.pruning)
    hold_plan(workspace)
    patients = open_patients(workspace)
    dense = require_model(workspace, DENSE)
    open_dense(workspace, patients.split)[1].refuse_leak(patients.split.test)

    @remembered
    def measured() -> Measured:  # once for all rungs, and not at all where all are kept
        return measure_dense(
            workspace, open_cache(workspace, patients), patients, open_dense(workspace, patients.split)[0]
        )

    for sparsity in workspace.config.pruning.ladder:
        for repair in repairs(workspace):
            folder = rung_folder(workspace, sparsity, repaired=bool(repair))
            workspace.once(
                f"ladder-{folder.name}",
                key=_key(workspace, patients, sparsity, repair),
                inputs=[dense],
                outputs=[folder / name for name in RESULT_FILES],
                work=partial(_score, workspace, patients, sparsity, repair, measured, folder),
            )


def repairs(workspace: Workspace) -> tuple[tuple[str, ...], ...]:
    """What each sparsity is scored with: no repair, then `pruning.repair` unless that is empty."""
    repair = workspace.config.pruning.repair
    return ((), repair) if repair else ((),)


def rung_folder(workspace: Workspace, sparsity: float, *, repaired: bool) -> Path:
    """Where one rung's scores lie."""
    return workspace.out / "ladder" / (f"{100 * sparsity:.6g}" + ("-repaired" if repaired else ""))


def _key(workspace: Workspace, patients: Patients, sparsity: float, repair: tuple[str, ...]) -> dict[str, Any]:
    config, pruning = workspace.config, workspace.config.pruning
    return {
        "schema": SCHEMA_VERSION,
        "sparsity": sparsity,
        "score": [pruning.score, pruning.cost_weight, pruning.layer_floor],
        "repair": list(repair),
        "slices": pruning.repair_slices if repair or pruning.score == "fisher" else 0,
        "tune_epochs": pruning.tune_epochs if "tune_biases" in repair else 0,
        "loss": config.loss.model_dump(mode="json"),
        "sampling": [config.seed, config.training.other_per_tumour],
        "evaluation": config.evaluation.model_dump(mode="json"),
        "split": patients.split.hash,
        "data": patients.data_hash,
        **declared_spacing(workspace),
    }


def _network(
    workspace: Workspace,
    patients: Patients,
    sparsity: float,
    repair: tuple[str, ...],
    measured: Callable[[], Measured],
) -> tuple[nn.Module, ModelArtefact]:
    """The network of a rung with its threshold: the run's own where it is that, made here otherwise."""
    pruning = workspace.config.pruning
    if repair and not pruning.finetune_epochs and sparsity in pruned_sparsities(pruning):
        prune_stage(at_sparsity(workspace, sparsity))  # as a rule done before, and kept
        return open_model(workspace, pruned_name(sparsity))
    cache = open_cache(workspace, patients)
    dense = open_dense(workspace, patients.split)
    model, artefact, _ = pruned_copy(
        workspace, cache, patients, dense, sparsity=sparsity, repair=repair, measured=measured()
    )
    return model, with_threshold(workspace, patients, model, artefact)


def _score(
    workspace: Workspace,
    patients: Patients,
    sparsity: float,
    repair: tuple[str, ...],
    measured: Callable[[], Measured],
    folder: Path,
) -> None:
    config = workspace.config
    model, artefact = _network(workspace, patients, sparsity, repair, measured)
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
        "%g %% sparsity, %s: dice_patient %.4f, f1_pooled %.4f",
        100 * sparsity,
        repair_in_words(repair),
        result.value("dice_patient"),
        result.value("f1_pooled"),
    )
