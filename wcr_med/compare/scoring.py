"""One trained network, pruned and repaired to every sparsity, scored on prepared slices.

Scores are taken on the network's own grid, in the precision of training, so that a forward pass over all patients costs
seconds; they compare methods, and are not the figures of `wcr-med evaluate`, which scores on the grid of the files.

Shape suffixes: P patients, T thresholds.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wcr_med.config import Config, RepairName
from wcr_med.data.cache import SliceCache
from wcr_med.data.split import Split
from wcr_med.evaluation import best_threshold
from wcr_med.evaluation.threshold import GRID, threshold_counts
from wcr_med.models import prunable_parameters
from wcr_med.pruning import make_mask, measure, open_calibration, prune_, repair_
from wcr_med.training import Processor, choose_processor

Array = npt.NDArray[Any]

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One network of a ladder and its scores.

    Attributes:
        sparsity: share of prunable weights removed; 0 for the dense network.
        repaired: whether the study's repair steps were done.
        threshold: chosen on validation patients, for this network.
        validation_dice: their dice_patient at that threshold.
        patients: of the test patients: (tp, fp, fn) in pixels by patient, at that threshold; `None` while tuning.
        kept: share of weights left by kernel; empty for the dense network.
    """

    sparsity: float
    repaired: bool
    threshold: float
    validation_dice: float
    patients: dict[str, tuple[int, int, int]] | None
    kept: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def score_ladder(
    model: nn.Module,
    cache: SliceCache,
    split: Split,
    config: Config,
    *,
    sparsities: Sequence[float],
    repair: Sequence[RepairName],
    test: bool,
) -> list[Rung]:
    """Score the dense network, and each sparsity without and with repair.

    Args:
        model: trained, dense; not changed.
        cache: the slices of all patients.
        split: validation patients choose thresholds; repair sees training patients; test patients are scored.
        config: pruning (score, floor, cost weight, slices), loss, training and seed are used.
        sparsities: each above 0.
        repair: steps of `pruning.repair`; empty: networks are scored as pruned alone.
        test: whether test patients are looked at.
    """
    processor = choose_processor(config.training)
    settings = config.pruning

    calibration = open_calibration(config, cache, split)
    dense = copy.deepcopy(model).to(processor.device).eval()
    rungs = [_score(dense, cache, split, processor, sparsity=0.0, repaired=False, test=test)]
    measured = measure(dense, settings.score, calibration, cost_weight=settings.cost_weight) if sparsities else None
    for sparsity in sparsities:
        pruned = copy.deepcopy(dense)
        mask = make_mask(
            pruned,
            settings.score,
            sparsity,
            layer_floor=settings.layer_floor,
            cost_weight=settings.cost_weight,
            measured=measured,
        )
        prune_(pruned, mask)
        rungs.append(_score(pruned, cache, split, processor, sparsity=sparsity, repaired=False, test=test))
        if repair:
            repair_(pruned, repair, calibration, dense=dense, tune_epochs=settings.tune_epochs)
            rungs.append(_score(pruned, cache, split, processor, sparsity=sparsity, repaired=True, test=test))
    return rungs


def energy_share(model: nn.Module, share: float = 0.05) -> float:
    """The largest weights' part in the sum of squares of all prunable weights: the concentration that WCR is after.

    Args:
        model: a network with at least one prunable weight.
        share: of the weights, the largest first; 0.05 is the 5 % that are left at 95 % sparsity.

    Returns:
        0 to 1; 0 where all weights are zero.
    """
    every = torch.cat([kernel.detach().reshape(-1).double() for kernel in prunable_parameters(model).values()])
    squares = every.square().sort(descending=True).values
    total = float(squares.sum())
    return float(squares[: round(share * len(squares))].sum()) / total if total else 0.0


def _score(
    model: nn.Module,
    cache: SliceCache,
    split: Split,
    processor: Processor,
    *,
    sparsity: float,
    repaired: bool,
    test: bool,
) -> Rung:
    tp_PT, fp_PT, positives_P = _counts(model, cache, split.validation, processor)
    choice = best_threshold(tp_PT, fp_PT, positives_P)
    patients = None
    if test:
        tp_PT, fp_PT, positives_P = _counts(model, cache, split.test, processor)
        place = GRID.index(choice.threshold)
        patients = {
            patient_id: (int(tp), int(fp), int(positives - tp))
            for patient_id, tp, fp, positives in zip(
                split.test, tp_PT[:, place], fp_PT[:, place], positives_P, strict=True
            )
        }
    kept = {name: float((kernel.detach() != 0).double().mean()) for name, kernel in prunable_parameters(model).items()}
    return Rung(
        sparsity=sparsity,
        repaired=repaired,
        threshold=choice.threshold,
        validation_dice=choice.dice_patient,
        patients=patients,
        kept=kept if sparsity else {},
    )


def _counts(
    model: nn.Module, cache: SliceCache, patient_ids: Sequence[str], processor: Processor
) -> tuple[Array, Array, Array]:
    """True and false positives at every threshold, and reference pixels, of each patient."""
    model.eval()
    placed = processor.place_model(model)  # not in inference mode: what it converts there can never learn again
    tp: list[Array] = []
    fp: list[Array] = []
    positives: list[int] = []
    for patient_id in patient_ids:
        rows = cache.rows([patient_id])
        parts = []
        for start in range(0, len(rows), _BATCH):
            images_NChw = torch.from_numpy(np.asarray(cache.images_NChw[rows[start : start + _BATCH]], np.float32))
            with torch.inference_mode(), processor.autocast():
                logits_N1hw = placed(processor.place(images_NChw))
            parts.append(torch.sigmoid(logits_N1hw[:, 0].float()).cpu().numpy())
        counted = threshold_counts(np.asarray(cache.masks_Nhw[rows]), np.concatenate(parts))
        tp.append(counted[0])
        fp.append(counted[1])
        positives.append(counted[2])
    return np.stack(tp), np.stack(fp), np.array(positives)
