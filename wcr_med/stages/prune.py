"""Prune the dense network once."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import balanced_rows
from wcr_med.models import sparsity as measure_sparsity
from wcr_med.pruning import Mask, make_mask, prune_, reestimate_statistics_
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.networks import open_dense, open_model, require_model
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, pruned_name
from wcr_med.training.processor import choose_processor

_BATCH = 32


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
    reestimate: bool,
) -> tuple[nn.Module, ModelArtefact, Mask]:
    """Prune the given network in place and repair it; the artefact records each step. No threshold is chosen yet.

    The network may end on another device than the CPU.
    """
    model, artefact = dense
    config = workspace.config.pruning
    mask = make_mask(model, config.score, sparsity)
    artefact = artefact.with_step("prune", score=config.score, **prune_(model, mask).to_dict())
    if reestimate:
        device = choose_processor(workspace.config.training).device
        images = (batch.to(device) for batch in training_images(workspace, cache, patients))
        report = reestimate_statistics_(model.to(device), images)
        artefact = artefact.with_step("reestimate_statistics", **report)
    return model, artefact, mask


def training_images(workspace: Workspace, cache: SliceCache, patients: Patients) -> Iterator[Tensor]:
    """Batches of normalised training slices, without augmentation, in the balance that training used."""
    config = workspace.config
    rows = balanced_rows(
        cache,
        cache.rows(patients.split.train),
        other_per_tumour=config.training.other_per_tumour,
        seed=config.seed,
        epoch=0,
    )[: config.pruning.reestimate_slices]
    for start in range(0, len(rows), _BATCH):
        yield torch.from_numpy(cache.images_NChw[rows[start : start + _BATCH]]).float()


def _prune(workspace: Workspace, patients: Patients, target: Path) -> None:
    config = workspace.config.pruning
    model, artefact, mask = pruned_copy(
        workspace,
        open_cache(workspace, patients),
        patients,
        open_dense(workspace, patients.split),
        sparsity=config.sparsity,
        reestimate=config.reestimate_statistics,
    )
    artefact = with_threshold(workspace, patients, model, artefact)
    mask.save(_mask_path(target))
    save_model(target, model, artefact)


def _mask_path(model_path: Path) -> Path:
    return model_path.with_suffix(".mask.safetensors")
