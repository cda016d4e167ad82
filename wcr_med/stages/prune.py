"""Prune the dense network once."""

from pathlib import Path

from torch import nn

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.data.cache import SliceCache
from wcr_med.losses import build_loss
from wcr_med.models import sparsity as measure_sparsity
from wcr_med.pruning import Calibration, Mask, calibration_slices, make_mask, prune_, repair_
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.networks import open_dense, open_model, require_model
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, pruned_name
from wcr_med.training.processor import choose_processor


def prune_stage(workspace: Workspace) -> str:
    """Prune to `pruning.sparsity`, repair, choose the threshold; write the network and its mask.

    Returns:
        A line for the user that names the file and both sparsities.

    Raises:
        UserError: there is no dense network yet, or it was trained on another split.
    """
    patients = open_patients(workspace)
    dense = require_model(workspace, DENSE)
    config = workspace.config.pruning
    name = pruned_name(config.sparsity)
    target = workspace.model_path(name)
    workspace.once(
        name,
        key={
            "pruning": config.model_dump(mode="json", exclude={"ladder"}),
            "threshold": workspace.config.evaluation.threshold,
            "data": patients.data_hash,
            "sampling": [workspace.config.seed, workspace.config.training.other_per_tumour],
        },
        inputs=[dense],
        outputs=[target, _mask_path(target)],
        work=lambda: _prune(workspace, patients, target),
    )
    report = measure_sparsity(open_model(workspace, name)[0])
    return (
        f"{target}: {report.sparsity_prunable:.4%} of prunable weights are zero,"
        f" {report.sparsity_all:.4%} of all parameters"
    )


def pruned_copy(
    workspace: Workspace,
    cache: SliceCache,
    patients: Patients,
    dense: tuple[nn.Module, ModelArtefact],
    *,
    sparsity: float,
    repair: tuple[str, ...],
) -> tuple[nn.Module, ModelArtefact, Mask]:
    """Prune the given network in place and repair it; the artefact records each step. No threshold is chosen yet.

    Args:
        workspace: its configuration decides the score; seed, loss and sampling are those of training.
        cache: prepared slices.
        patients: those of the training partition are looked at.
        dense: the network to prune.
        sparsity: share of prunable weights to remove.
        repair: steps afterwards, of `wcr_med.pruning.repair_`, in this order.

    Returns:
        The network, which may have ended on another device than the CPU, its artefact, and the mask.
    """
    model, artefact = dense
    config = workspace.config.pruning
    mask = make_mask(model, config.score, sparsity)
    artefact = artefact.with_step("prune", score=config.score, **prune_(model, mask).to_dict())
    for record in repair_(model, repair, open_calibration(workspace, cache, patients)):
        artefact = artefact.with_step(**record)
    return model, artefact, mask


def open_calibration(workspace: Workspace, cache: SliceCache, patients: Patients) -> Calibration:
    """The `pruning.repair_slices` training slices that scores and repair steps look at, and the training loss."""
    config = workspace.config
    return Calibration(
        batches=lambda: calibration_slices(
            cache,
            cache.rows(patients.split.train),
            n_slices=config.pruning.repair_slices,
            seed=config.seed,
            other_per_tumour=config.training.other_per_tumour,
        ),
        loss_of=build_loss(config.loss),
        device=choose_processor(config.training).device,
    )


def _prune(workspace: Workspace, patients: Patients, target: Path) -> None:
    config = workspace.config.pruning
    model, artefact, mask = pruned_copy(
        workspace,
        open_cache(workspace, patients),
        patients,
        open_dense(workspace, patients.split),
        sparsity=config.sparsity,
        repair=config.repair,
    )
    artefact = with_threshold(workspace, patients, model, artefact)
    mask.save(_mask_path(target))
    save_model(target, model, artefact)


def _mask_path(model_path: Path) -> Path:
    return model_path.with_suffix(".mask.safetensors")
