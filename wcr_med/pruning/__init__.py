"""One-shot pruning: score every prunable weight, remove exactly k, repair what a kernel's zeros left behind."""

from wcr_med.pruning.calibration import Calibration, calibration_slices
from wcr_med.pruning.mask import LayerKept, Mask
from wcr_med.pruning.prune import PruneResult, make_mask, prune_
from wcr_med.pruning.repair import repair_, repair_in_words
from wcr_med.pruning.scores import global_magnitude, lamp, layer_magnitude
from wcr_med.pruning.select import exact_k, n_to_prune
from wcr_med.pruning.statistics import reestimate_statistics_

__all__ = [
    "Calibration",
    "LayerKept",
    "Mask",
    "PruneResult",
    "calibration_slices",
    "exact_k",
    "global_magnitude",
    "lamp",
    "layer_magnitude",
    "make_mask",
    "n_to_prune",
    "prune_",
    "reestimate_statistics_",
    "repair_",
    "repair_in_words",
]
