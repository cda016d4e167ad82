"""Networks pruned to one sparsity after another, and what each gives on validation patients and as a file."""

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.data.index import load_volume
from wcr_med.evaluation import evaluate_patients
from wcr_med.export import measure_export
from wcr_med.models import prunable_parameters
from wcr_med.pruning import Measured, n_to_prune
from wcr_med.pruning.bounds import Bounds, Trial
from wcr_med.pruning.search import GRID
from wcr_med.pruning.select import n_protected
from wcr_med.stages.inputs import Patients, open_cache
from wcr_med.stages.networks import open_dense, open_predictor
from wcr_med.stages.prune import measure_dense, pruned_copy
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.units import size_in_words, time_in_words
from wcr_med.stages.workspace import Workspace, pruned_name

log = logging.getLogger(__name__)


class Candidates:
    """Prunes, repairs and measures; only validation and training patients are looked at.

    Args:
        workspace: score, repair, threshold and export settings are those of its configuration.
        patients: of the run.
        bounds: tell what is worth measuring, and go into the history of each network.
        folder: networks that meet the bounds are kept here; the caller removes it.
    """

    def __init__(self, workspace: Workspace, patients: Patients, bounds: Bounds, folder: Path) -> None:
        self._workspace, self._patients, self._bounds, self._folder = workspace, patients, bounds, folder
        self._cache = open_cache(workspace, patients)
        self._measured: dict[float, Measured] = {}  # of the dense network, by cost weight
        self._entries = patients.of(patients.split.validation)
        model, artefact = open_dense(workspace, patients.split)
        self.grid = possible_sparsities(model, workspace.config.pruning.layer_floor)
        _, self.dense_dice = self._with_dice(model, artefact)
        log.info("dense: dice_patient %.4f on %d validation patients", self.dense_dice, len(self._entries))

    def measure(self, sparsity: float, cost_weight: float) -> Trial:
        """Prune, repair, choose the threshold, score; export and time where size or latency is bounded."""
        workspace = self._with_allocation(sparsity, cost_weight)
        dense = open_dense(workspace, self._patients.split)
        if cost_weight not in self._measured:
            self._measured[cost_weight] = measure_dense(workspace, self._cache, self._patients, dense[0])
        model, artefact, mask = pruned_copy(
            workspace,
            self._cache,
            self._patients,
            dense,
            sparsity=sparsity,
            repair=workspace.config.pruning.repair,
            measured=self._measured[cost_weight],
        )
        artefact, dice = self._with_dice(model, artefact)
        trial = Trial(sparsity=sparsity, cost_weight=cost_weight, dice_patient=dice, dice_drop=self.dense_dice - dice)
        # The file holds the history, so the step must be there before the file is weighed.
        artefact = artefact.with_step(
            "search_target",
            max_dice_drop=self._bounds.max_dice_drop,
            max_size_bytes=self._bounds.max_size_bytes,
            max_latency_ms=self._bounds.max_latency_ms,
            sparsity=sparsity,
            cost_weight=cost_weight,
            dense_dice_patient=self.dense_dice,
            dice_patient=dice,
        )
        model.cpu()
        if self._bounds.on_file:
            trial = self._as_file(trial, model, artefact)
        log.info("%s", in_words(trial))
        if not self._bounds.exceeded(trial):
            path = self.path(trial)
            mask.save(path.with_suffix(".mask.safetensors"))
            save_model(path, model, artefact)
        return trial

    def path(self, trial: Trial) -> Path:
        """Where the network of a trial that meets the bounds is kept; its mask lies beside it."""
        return self._folder / f"{pruned_name(trial.sparsity)}-{trial.cost_weight:g}.safetensors"

    def _with_allocation(self, sparsity: float, cost_weight: float) -> Workspace:
        config = self._workspace.config
        pruning = config.pruning.model_copy(update={"sparsity": sparsity, "cost_weight": cost_weight})
        return replace(self._workspace, config=config.model_copy(update={"pruning": pruning}))

    def _with_dice(self, model: nn.Module, artefact: ModelArtefact) -> tuple[ModelArtefact, float]:
        """The artefact with its threshold, and dice_patient of the validation patients at that threshold."""
        workspace, patients = self._workspace, self._patients
        artefact = with_threshold(workspace, patients, model, artefact)
        chosen = artefact.history[-1]
        if "dice_patient" in chosen:
            return artefact, float(chosen["dice_patient"])
        assert artefact.threshold is not None  # set in the configuration
        scores = evaluate_patients(
            open_predictor(workspace, model),
            self._entries,
            threshold=artefact.threshold,
            config=workspace.config.evaluation,
            seed=workspace.config.seed,
            distances=False,
        )
        return artefact, scores.value("dice_patient")

    def _as_file(self, trial: Trial, model: nn.Module, artefact: ModelArtefact) -> Trial:
        data = self._workspace.config.data
        measured = measure_export(
            model,
            artefact,
            self._workspace.config.export,
            channel_files=data.nifti.patterns if data.format == "nifti" else None,
            timed_on=load_volume(self._entries[0]) if self._bounds.max_latency_ms is not None else None,
        )
        return replace(trial, size_bytes=measured.size_bytes, latency_ms=measured.latency_ms)


def possible_sparsities(model: nn.Module, layer_floor: float) -> tuple[float, ...]:
    """Those of `GRID` that leave each layer its floor; at least 0."""
    sizes = [kernel.numel() for kernel in prunable_parameters(model).values()]
    most = sum(sizes) - sum(n_protected(size, layer_floor) for size in sizes)
    return tuple(sparsity for sparsity in GRID if n_to_prune(sparsity, sum(sizes)) <= most)


def in_words(trial: Trial) -> str:
    """A trial for a reader, what was not measured left out."""
    parts = [f"dice_patient {trial.dice_patient:.4f} (drop {trial.dice_drop:.4f})"]
    parts += [size_in_words(trial.size_bytes)] if trial.size_bytes is not None else []
    parts += [time_in_words(trial.latency_ms)] if trial.latency_ms is not None else []
    allocation = f", cost_weight {trial.cost_weight:g}" if trial.cost_weight else ""
    return f"sparsity {trial.sparsity:g}{allocation} gives {', '.join(parts)}"
