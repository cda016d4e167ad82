"""How much each layer bears: every layer pruned by itself to several sparsities, scored on some validation slices.

Shape suffixes: N slices, C channels, h and w rows and columns of the network's grid.
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError
from wcr_med.models import prunable_parameters
from wcr_med.progress import track
from wcr_med.provenance import provenance
from wcr_med.pruning import calibration_slices, exact_k, n_to_prune, reestimate_statistics_
from wcr_med.pruning.select import n_protected
from wcr_med.report.sensitivity import (
    LayerSensitivity,
    Sensitivity,
    SensitivityPoint,
    sensitivity_table,
    write_sensitivity,
)
from wcr_med.stages.inputs import open_cache, open_patients
from wcr_med.stages.networks import open_dense, require_model
from wcr_med.stages.workspace import DENSE, Workspace, alone
from wcr_med.training.processor import Processor, choose_processor, processor_settings
from wcr_med.training.validation import validate

log = logging.getLogger(__name__)

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
"""What each layer is pruned to; 1: all that `pruning.layer_floor` does not protect."""

SLICES_PER_PATIENT = 12
"""Slices of a validation patient that are scored, at most."""

_REPAIR_SLICES = 128  # a quarter of what pruning takes by default: statistics are estimated once for each point
_CHOICE = 2  # the random stream that draws slices
_THRESHOLD = 0.5  # where the dense network has none of its own


@alone
def scan_stage(workspace: Workspace, *, repair: bool = False) -> str:
    """Prune each layer of the dense network alone and score it; write scan/sensitivity.{csv,json,svg,png}.

    Weights go by magnitude, an exact number of each layer. The dense network's own threshold serves all. No network is
    written.

    Args:
        workspace: the run folder; precision and threads are those of training.
        repair: re-estimate batch-norm statistics on 128 training slices each time, before the first score too.

    Returns:
        A table for the user: layer, weights, share, drop of dice_patient at each sparsity.

    Raises:
        UserError: there is no dense network, it was trained on another split, or no validation patient has a tumour.
    """
    require_model(workspace, DENSE)
    patients = open_patients(workspace)
    config, split = workspace.config, patients.split
    cache = open_cache(workspace, patients)
    chosen = subset(cache, split.validation, per_patient=SLICES_PER_PATIENT, seed=config.seed)
    if not chosen.has_tumour_N.any():
        raise UserError("no validation patient has a tumour, so nothing can be lost; change split.seed")
    model, artefact = open_dense(workspace, split)
    threshold = artefact.threshold or _THRESHOLD
    with processor_settings(config.training.threads):
        processor = choose_processor(config.training)
        scanner = _Scanner(
            processor.place_model(model),
            chosen,
            split.validation,
            processor,
            batch_size=config.evaluation.batch_size,
            threshold=threshold,
            repair_batches=_repair_batches(workspace, cache, split.train) if repair else None,
        )
        dense = scanner.score()
        layers = tuple(scanner.scan(SPARSITIES, config.pruning.layer_floor))
    scan = Sensitivity(
        dice_patient=dense[0],
        f1_pooled=dense[1],
        layers=layers,
        layer_floor=config.pruning.layer_floor,
        repair=("reestimate_statistics",) if repair else (),
        n_patients=len(split.validation),
        n_slices=len(chosen),
        slices_per_patient=SLICES_PER_PATIENT,
        threshold=threshold,
        split_hash=split.hash,
        data_hash=patients.data_hash,
        provenance=provenance(seed=config.seed),
    )
    folder = workspace.out / "scan"
    write_sensitivity(folder, scan)
    return (
        f"{sensitivity_table(scan)}\n"
        f"Drop of dice_patient from {scan.dice_patient:.4f}, {scan.n_slices} slices of {scan.n_patients} validation"
        f" patients; see {folder}"
    )


def plan_of_scan(workspace: Workspace, *, repair: bool) -> str:
    """What `scan_stage` would do, in a line."""
    rungs = ", ".join(f"{100 * sparsity:g}" for sparsity in SPARSITIES)
    mended = "statistics re-estimated each time" if repair else "no repair"
    return (
        f"scan: each layer alone to {rungs} %, {mended}, scored on at most {SLICES_PER_PATIENT} slices of each of"
        f" {workspace.config.split.validation_patients} validation patients; write {workspace.out / 'scan'}"
    )


def subset(cache: SliceCache, patient_ids: Sequence[str], *, per_patient: int, seed: int) -> SliceCache:
    """At most `per_patient` slices of each patient, in memory: half of them with tumour, as far as there are.

    Args:
        cache: all slices.
        patient_ids: whose.
        per_patient: at least 1.
        seed: the same seed draws the same slices.
    """
    rows = np.concatenate(
        [
            _draw(cache, patient_id, per_patient, np.random.default_rng([seed, _CHOICE, number]))
            for number, patient_id in enumerate(patient_ids)
        ]
    )
    return SliceCache(
        images_NChw=np.asarray(cache.images_NChw[rows]),
        masks_Nhw=np.asarray(cache.masks_Nhw[rows]),
        patient_ids_N=cache.patient_ids_N[rows],
        slice_numbers_N=cache.slice_numbers_N[rows],
        has_tumour_N=cache.has_tumour_N[rows],
        key=cache.key,
    )


def _draw(cache: SliceCache, patient_id: str, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    rows = rng.permutation(cache.rows([patient_id]))
    holds_tumour = cache.has_tumour_N[rows]
    tumour, other = rows[holds_tumour], rows[~holds_tumour]
    n_tumour = min(len(tumour), max((n + 1) // 2, n - len(other)))
    chosen: npt.NDArray[np.int64] = np.sort(np.concatenate([tumour[:n_tumour], other[: n - n_tumour]]))
    return chosen


def _repair_batches(workspace: Workspace, cache: SliceCache, patient_ids: Sequence[str]) -> list[Tensor]:
    config = workspace.config
    batches = calibration_slices(
        cache,
        cache.rows(patient_ids),
        n_slices=min(_REPAIR_SLICES, config.pruning.repair_slices),
        seed=config.seed,
        other_per_tumour=config.training.other_per_tumour,
    )
    return [image_NChw for image_NChw, _ in batches]


class _Scanner:
    """One network that is pruned a layer at a time, scored, and put back."""

    def __init__(
        self,
        model: nn.Module,
        cache: SliceCache,
        patient_ids: Sequence[str],
        processor: Processor,
        *,
        batch_size: int,
        threshold: float,
        repair_batches: Sequence[Tensor] | None,
    ) -> None:
        self._model, self._cache, self._patient_ids = model, cache, patient_ids
        self._processor, self._batch_size, self._threshold = processor, batch_size, threshold
        self._repair_batches = repair_batches
        self._buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def score(self) -> tuple[float, float]:
        """dice_patient and f1_pooled of the network as it is, repaired first where that is asked for."""
        try:
            if self._repair_batches is not None:
                with self._processor.autocast():
                    placed = (self._processor.place(batch) for batch in self._repair_batches)
                    reestimate_statistics_(self._model, placed)
            scores = validate(self._model, self._cache, self._patient_ids, self._processor, batch_size=self._batch_size)
        finally:
            with torch.no_grad():
                for name, buffer in self._model.named_buffers():
                    buffer.copy_(self._buffers[name])
        assert scores.dice_patient is not None  # the slices hold a tumour
        assert scores.f1_pooled is not None
        return scores.dice_patient, scores.f1_pooled

    def scan(self, sparsities: Sequence[float], layer_floor: float) -> Iterator[LayerSensitivity]:
        """One layer after another, in network order."""
        kernels = prunable_parameters(self._model)
        with_progress = track(kernels.items(), label="scan", unit="layer", total=len(kernels), log=log)
        for name, kernel in with_progress:
            n, shape = kernel.numel(), tuple(kernel.shape)
            most = n - n_protected(n, layer_floor)
            counts = [min(n_to_prune(sparsity, n), most) for sparsity in sparsities]
            points = tuple(
                self._point(name, kernel, sparsity, k) for sparsity, k in zip(sparsities, counts, strict=True)
            )
            yield LayerSensitivity(name=name, shape=shape, n=n, points=points)

    @torch.no_grad()
    def _point(self, name: str, kernel: nn.Parameter, sparsity: float, k: int) -> SensitivityPoint:
        before = kernel.detach().clone()
        keep = exact_k({name: before.abs()}, k, "layer")[name]
        try:
            kernel.masked_fill_(~keep.to(kernel.device), 0)
            dice_patient, f1_pooled = self.score()
        finally:
            kernel.copy_(before)
        return SensitivityPoint(sparsity=sparsity, n_removed=k, dice_patient=dice_patient, f1_pooled=f1_pooled)
