"""Segmentation networks, and which of their weights pruning may remove.

Every network takes images float32 (N, C, h, w) of any size and returns logits (N, 1, h, w): one foreground class.
"""

from wcr_med.models.batch_norms import fewest_slices
from wcr_med.models.build import build_model
from wcr_med.models.costs import layer_costs
from wcr_med.models.padded import PaddedNetwork
from wcr_med.models.prunable import LayerSparsity, SparsityReport, prunable_parameters, sparsity

__all__ = [
    "LayerSparsity",
    "PaddedNetwork",
    "SparsityReport",
    "build_model",
    "fewest_slices",
    "layer_costs",
    "prunable_parameters",
    "sparsity",
]
