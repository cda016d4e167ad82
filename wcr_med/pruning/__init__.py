"""Pruning: score every prunable weight, remove exactly k, repair what the zeros left behind."""

from wcr_med.pruning.biases import tune_biases_
from wcr_med.pruning.calibration import Calibration, calibration_slices, open_calibration
from wcr_med.pruning.mask import LayerKept, Mask
from wcr_med.pruning.prune import Measured, PruneResult, make_mask, measure, prune_, require_score
from wcr_med.pruning.reconstruction import reconstruct_
from wcr_med.pruning.repair import RETRAINED, needs_dense, repair_, repair_in_words, require_repair
from wcr_med.pruning.scores import fisher, global_magnitude, lamp, layer_magnitude
from wcr_med.pruning.select import exact_k, n_to_prune
from wcr_med.pruning.sensitivity import squared_gradients
from wcr_med.pruning.statistics import reestimate_statistics_
from wcr_med.pruning.variance import match_variance_

__all__ = [
    "RETRAINED",
    "Calibration",
    "LayerKept",
    "Mask",
    "Measured",
    "PruneResult",
    "calibration_slices",
    "exact_k",
    "fisher",
    "global_magnitude",
    "lamp",
    "layer_magnitude",
    "make_mask",
    "match_variance_",
    "measure",
    "n_to_prune",
    "needs_dense",
    "open_calibration",
    "prune_",
    "reconstruct_",
    "reestimate_statistics_",
    "repair_",
    "repair_in_words",
    "require_repair",
    "require_score",
    "squared_gradients",
    "tune_biases_",
]
