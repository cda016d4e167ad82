"""One-shot pruning: score every prunable weight, remove exactly k, repair the running statistics."""

from wcr_med.pruning.mask import LayerKept, Mask
from wcr_med.pruning.prune import PruneResult, make_mask, prune_
from wcr_med.pruning.repair import reestimate_statistics_
from wcr_med.pruning.scores import global_magnitude, lamp, layer_magnitude
from wcr_med.pruning.select import exact_k, n_to_prune

__all__ = [
    "LayerKept",
    "Mask",
    "PruneResult",
    "exact_k",
    "global_magnitude",
    "lamp",
    "layer_magnitude",
    "make_mask",
    "n_to_prune",
    "prune_",
    "reestimate_statistics_",
]
