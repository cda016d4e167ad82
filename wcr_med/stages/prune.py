"""Prune the dense network once."""

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from wcr_med.artefacts import ModelArtefact, load_model, save_model
from wcr_med.config import PruningConfig
from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError
from wcr_med.models import sparsity as measure_sparsity
from wcr_med.pruning import (
    RETRAINED,
    Mask,
    Measured,
    make_mask,
    measure,
    needs_dense,
    open_calibration,
    prune_,
    repair_,
    require_repair,
    require_score,
)
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.networks import open_dense, open_model, require_model
from wcr_med.stages.plan import hold_plan
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, alone, pruned_name
from wcr_med.training import deciding_fields, processor_settings

log = logging.getLogger(__name__)

_NO_RECIPE = {"ladder", "also", "finetune_epochs"}  # of the pruning itself; a fine-tuning is a step of its own


def check_pruning(config: PruningConfig) -> None:
    """Refuse settings that cannot work whatever the network, before it is trained.

    Raises:
        UserError: the score cannot be weighed by cost, the repair steps are in the wrong order, or a sparsity leaves
            less than the floor.
    """
    require_score(config.score, config.cost_weight)
    require_repair(config.repair)
    fields = [("sparsity", config.sparsity)]
    fields += [("also", sparsity) for sparsity in config.also] + [("ladder", rung) for rung in config.ladder]
    for field, sparsity in fields:
        if sparsity > 1 - config.layer_floor:
            raise UserError(
                f"pruning.{field} is {sparsity:g}, but pruning.layer_floor {config.layer_floor:g} leaves at most"
                f" {1 - config.layer_floor:g}; lower one of them"
            )


def pruned_sparsities(config: PruningConfig) -> tuple[float, ...]:
    """`pruning.sparsity` and `pruning.also`, each once, rising."""
    return tuple(sorted({config.sparsity, *config.also}))


def at_sparsity(workspace: Workspace, sparsity: float) -> Workspace:
    """The same run folder, with another `pruning.sparsity`."""
    pruning = workspace.config.pruning.model_copy(update={"sparsity": sparsity})
    return replace(workspace, config=workspace.config.model_copy(update={"pruning": pruning}))


@alone
def prune_stage(workspace: Workspace) -> str:
    """Prune to `pruning.sparsity`, repair, fine-tune if asked to, choose the threshold; write network and mask.

    Returns:
        A line for the user that names the file and both sparsities, and says so where the network was retrained.

    Raises:
        UserError: there is no dense network yet, it was trained on another split, or see `check_pruning`.
    """
    config = workspace.config.pruning
    check_pruning(config)
    hold_plan(workspace)
    patients = open_patients(workspace)
    dense = require_model(workspace, DENSE)
    name = pruned_name(config.sparsity)
    target = workspace.model_path(name)
    key: dict[str, Any] = {
        "pruning": config.model_dump(mode="json", exclude={"ladder", "also"}),
        "threshold": workspace.config.evaluation.threshold,
        "data": patients.data_hash,
        "sampling": [workspace.config.seed, workspace.config.training.other_per_tumour],
        "loss": workspace.config.loss.model_dump(mode="json"),
    }
    if config.finetune_epochs:
        key["training"] = deciding_fields(workspace.config)
    workspace.once(
        name,
        key=key,
        inputs=[dense],
        outputs=[target, _mask_path(target)],
        work=lambda: _prune(workspace, patients, target),
    )
    report = measure_sparsity(open_model(workspace, name)[0])
    return (
        f"{target}: {report.sparsity_prunable:.4%} of prunable weights are zero,"
        f" {report.sparsity_all:.4%} of all parameters" + (f"; {RETRAINED}" if config.finetune_epochs else "")
    )


def measure_dense(workspace: Workspace, cache: SliceCache, patients: Patients, dense: nn.Module) -> Measured:
    """What `pruning.score` and `pruning.cost_weight` need to know of the dense network besides its weights."""
    config = workspace.config.pruning
    with processor_settings(workspace.config.training.threads):
        calibration = open_calibration(workspace.config, cache, patients.split)
        return measure(dense, config.score, calibration, cost_weight=config.cost_weight)


def pruned_copy(
    workspace: Workspace,
    cache: SliceCache,
    patients: Patients,
    dense: tuple[nn.Module, ModelArtefact],
    *,
    sparsity: float,
    repair: tuple[str, ...],
    measured: Measured | None = None,
) -> tuple[nn.Module, ModelArtefact, Mask]:
    """Prune the given network in place and repair it; the artefact records each step. No threshold is chosen yet.

    Args:
        workspace: its configuration decides the score; seed, loss and sampling are those of training.
        cache: prepared slices.
        patients: those of the training partition are looked at.
        dense: the network to prune.
        sparsity: share of prunable weights to remove.
        repair: steps afterwards, of `wcr_med.pruning.repair_`, in this order.
        measured: of `measure_dense`, which is worth keeping where one network is pruned many times; measured here where
            it is `None`.

    Returns:
        The network, which may have ended on another device than the CPU, its artefact, and the mask.
    """
    model, artefact = dense
    config = workspace.config.pruning
    if measured is None:
        measured = measure_dense(workspace, cache, patients, model)
    before = copy.deepcopy(model) if needs_dense(repair) else None
    mask = make_mask(
        model,
        config.score,
        sparsity,
        layer_floor=config.layer_floor,
        cost_weight=config.cost_weight,
        measured=measured,
    )
    artefact = artefact.with_step(
        "prune",
        score=config.score,
        cost_weight=config.cost_weight,
        layer_floor=config.layer_floor,
        recipe=config.model_dump(mode="json", exclude=_NO_RECIPE) | {"sparsity": sparsity, "repair": list(repair)},
        **prune_(model, mask).to_dict(),
    )
    with processor_settings(workspace.config.training.threads):
        calibration = open_calibration(workspace.config, cache, patients.split)
        for record in repair_(model, repair, calibration, dense=before, tune_epochs=config.tune_epochs):
            artefact = artefact.with_step(**record)
    return model, artefact, mask


def _prune(workspace: Workspace, patients: Patients, target: Path) -> None:
    config = workspace.config.pruning
    cache = open_cache(workspace, patients)
    model, artefact, mask = pruned_copy(
        workspace,
        cache,
        patients,
        open_dense(workspace, patients.split),
        sparsity=config.sparsity,
        repair=config.repair,
    )
    if config.finetune_epochs:
        from wcr_med.pruning.finetune import finetune_  # needs the packages of augmentation, which pruning does not

        rows = cache.rows(patients.split.train)
        record = finetune_(model, mask, cache, rows, workspace.config, epochs=config.finetune_epochs)
        artefact = artefact.with_step("finetune", **record)
    artefact = with_threshold(workspace, patients, model, artefact)
    _keep_searched(target)
    mask.save(_mask_path(target))
    save_model(target, model, artefact)


def _keep_searched(target: Path) -> None:
    """Give a network that a search for targets left under this name another one: no configuration makes it again."""
    try:
        history = load_model(target)[1].history if target.exists() else ()
    except UserError:
        return  # damaged
    if any(step["step"] == "search_target" for step in history):
        aside = target.with_name(f"{target.stem}-searched.safetensors")
        for suffix in (".mask.safetensors", ".mask.json", ".safetensors"):
            if target.with_suffix(suffix).exists():
                target.with_suffix(suffix).replace(aside.with_suffix(suffix))
        log.info("%s: was searched for targets, and is now called %s", target, aside.stem)


def _mask_path(model_path: Path) -> Path:
    return model_path.with_suffix(".mask.safetensors")
