"""Score, select, remove."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.models import SparsityReport, prunable_parameters, sparsity
from wcr_med.pruning.mask import Mask
from wcr_med.pruning.scores import global_magnitude, lamp, layer_magnitude
from wcr_med.pruning.select import Scope, exact_k, n_to_prune

_Score = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_SCORES: dict[str, tuple[_Score, Scope]] = {
    "global_magnitude": (global_magnitude, "global"),
    "layer_magnitude": (layer_magnitude, "layer"),
    "lamp": (lamp, "global"),
}


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """What pruning did.

    Attributes:
        n_removed: prunable weights that the mask removes.
        report: zeros of the network afterwards, against both denominators and by layer. It also counts weights that the
            mask keeps and that were zero before.
    """

    n_removed: int
    report: SparsityReport

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary: the counts, `sparsity_prunable`, `sparsity_all`, and a row a layer."""
        return {"n_removed": self.n_removed, **self.report.to_dict()}


def make_mask(model: nn.Module, score: str, sparsity: float) -> Mask:
    """Decide which weights of a network to remove; changes nothing.

    Args:
        model: the network.
        score: "global_magnitude", "layer_magnitude" or "lamp".
        sparsity: share of the prunable weights to remove, at least 0 and below 1. Exactly round(sparsity * n) of n are
            removed.

    Raises:
        UserError: the score is unknown, the sparsity out of range, or the network holds NaN or infinite weights.
    """
    if score not in _SCORES:
        near = difflib.get_close_matches(score, _SCORES, n=1, cutoff=0)
        raise UserError(f"pruning.score: {score!r} is not a score; did you mean {near[0]}?")
    if not 0 <= sparsity < 1:
        raise UserError(f"pruning.sparsity is {sparsity}: give a share of at least 0 and below 1, such as 0.9")
    kernels = prunable_parameters(model)
    for name, kernel in kernels.items():
        if not bool(torch.isfinite(kernel).all()):
            raise UserError(f"{name} holds NaN or infinity: the network did not train well; lower the learning rate")
    rank, scope = _SCORES[score]
    n = sum(kernel.numel() for kernel in kernels.values())
    return Mask(exact_k(rank(kernels), n_to_prune(sparsity, n), scope), model)


def prune_(model: nn.Module, mask: Mask) -> PruneResult:
    """Make the weights that a mask removes exactly zero, in place.

    Raises:
        ValueError: the mask was made for another network; nothing was changed.
    """
    mask.apply_(model)
    return PruneResult(n_removed=mask.n - mask.n_kept, report=sparsity(model))
