"""Measure, score, select, remove."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.models import SparsityReport, layer_costs, prunable_parameters, sparsity
from wcr_med.pruning.calibration import Calibration
from wcr_med.pruning.costs import per_cost
from wcr_med.pruning.mask import Mask
from wcr_med.pruning.scores import fisher, global_magnitude, lamp, layer_magnitude
from wcr_med.pruning.select import Scope, exact_k, n_protected, n_to_prune
from wcr_med.pruning.sensitivity import squared_gradients

_SCOPES: dict[str, Scope] = {
    "global_magnitude": "global",
    "layer_magnitude": "layer",
    "lamp": "global",
    "fisher": "global",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a score needs besides the weights, measured on the network before pruning.

    Attributes:
        costs: of `wcr_med.models.layer_costs`; `None` where no ranking by cost is wanted.
        squared_gradients: of `squared_gradients`; `None` where the score is not fisher.
    """

    costs: Mapping[str, float] | None = None
    squared_gradients: Mapping[str, Tensor] | None = None


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


def measure(model: nn.Module, score: str, calibration: Calibration, *, cost_weight: float = 0.0) -> Measured:
    """Measure what a score needs, and nothing else; for many sparsities of one network, once is enough.

    Args:
        model: the network before pruning; left as it was, but placed on the calibration's processor.
        score: see `make_mask`; squared gradients are taken for "fisher" alone.
        calibration: slices on the run's grid, which layers' costs are counted for, and the training loss.
        cost_weight: see `make_mask`; costs are counted where it is above 0.

    Raises:
        UserError: the score is unknown, cannot be weighed by cost, or there are no slices.
    """
    require_score(score, cost_weight)
    costs = None
    if cost_weight > 0:
        image_NChw, _ = next(iter(calibration.placed()), (None, None))
        if image_NChw is None:
            raise UserError("pruning.cost_weight: no training slices to see the grid from")
        costs = layer_costs(calibration.processor.place_model(model), tuple(image_NChw.shape[1:]))
    return Measured(costs=costs, squared_gradients=squared_gradients(model, calibration) if score == "fisher" else None)


def make_mask(
    model: nn.Module,
    score: str,
    sparsity: float,
    *,
    layer_floor: float = 0.0,
    cost_weight: float = 0.0,
    measured: Measured | None = None,
) -> Mask:
    """Decide which weights of a network to remove; changes nothing.

    Args:
        model: the network.
        score: "global_magnitude", "layer_magnitude", "lamp" or "fisher".
        sparsity: share of the prunable weights to remove, at least 0 and below 1. Exactly round(sparsity * n) of n are
            removed.
        layer_floor: share of each layer, at least 0 and below 1, whose highest scores always stay, at least one weight;
            0: whole layers may go.
        cost_weight: c in [0, 1]: weights are ranked by importance / cost^c, where importance is the score for lamp and
            fisher, and w^2 for global_magnitude.
        measured: of `measure`, for the same score and cost weight; only fisher and a cost weight above 0 need it.

    Raises:
        UserError: the score is unknown or cannot be weighed by cost, the sparsity is out of range or more than the
            floor allows, or the network holds NaN or infinite weights.
        ValueError: something that the score needs was not measured.
    """
    require_score(score, cost_weight)
    if not 0 <= sparsity < 1:
        raise UserError(f"pruning.sparsity is {sparsity}: give a share of at least 0 and below 1, such as 0.9")
    kernels = prunable_parameters(model)
    for name, kernel in kernels.items():
        if not bool(torch.isfinite(kernel).all()):
            raise UserError(f"{name} holds NaN or infinity: the network did not train well; lower the learning rate")
    k = n_to_prune(sparsity, sum(kernel.numel() for kernel in kernels.values()))
    _require_room([kernel.numel() for kernel in kernels.values()], k, sparsity, layer_floor)
    ranks = _rank(kernels, score, cost_weight, measured or Measured())
    return Mask(exact_k(ranks, k, _SCOPES[score], floor=layer_floor), model)


def prune_(model: nn.Module, mask: Mask) -> PruneResult:
    """Make the weights that a mask removes exactly zero, in place.

    Raises:
        ValueError: the mask was made for another network; nothing was changed.
    """
    mask.apply_(model)
    return PruneResult(n_removed=mask.n - mask.n_kept, report=sparsity(model))


def _rank(kernels: Mapping[str, Tensor], score: str, cost_weight: float, measured: Measured) -> dict[str, Tensor]:
    if score == "fisher":
        if measured.squared_gradients is None:
            raise ValueError("the score fisher needs the squared gradients that `measure` gives")
        ranks = fisher(kernels, measured.squared_gradients)
    elif score == "lamp":
        ranks = lamp(kernels)
    elif score == "layer_magnitude":
        ranks = layer_magnitude(kernels)
    else:
        ranks = global_magnitude(kernels)
    if cost_weight == 0:
        return ranks
    if measured.costs is None:
        raise ValueError("a cost weight needs the costs that `measure` gives")
    if score == "global_magnitude":
        ranks = {name: rank.double().square() for name, rank in ranks.items()}
    return per_cost(ranks, measured.costs, cost_weight)


def require_score(score: str, cost_weight: float = 0.0) -> None:
    """Check a score and its weighing by cost, before anything is trained or measured.

    Raises:
        UserError: the score is unknown, the cost weight is out of range, or the two do not go together.
    """
    if score not in _SCOPES:
        near = difflib.get_close_matches(score, _SCOPES, n=1, cutoff=0)
        raise UserError(f"pruning.score: {score!r} is not a score; did you mean {near[0]}?")
    if not 0 <= cost_weight <= 1:
        raise UserError(f"pruning.cost_weight is {cost_weight}: give a number from 0 to 1")
    if cost_weight > 0 and _SCOPES[score] == "layer":
        raise UserError(
            f"pruning.cost_weight is {cost_weight:g}, but pruning.score {score} ranks within each layer, where every"
            " weight costs the same; set pruning.cost_weight to 0, or choose another score"
        )


def _require_room(sizes: list[int], k: int, sparsity: float, floor: float) -> None:
    if not 0 <= floor < 1:
        raise UserError(f"pruning.layer_floor is {floor}: give a share of at least 0 and below 1, such as 0.001")
    n = sum(sizes)
    most = n - sum(n_protected(size, floor) for size in sizes)
    if k > most:
        largest = math.floor(1e6 * most / n) / 1e6  # rounded down, so that it is possible
        raise UserError(
            f"pruning.sparsity is {sparsity:g}, but with pruning.layer_floor {floor:g} at most {largest:g} is possible;"
            " lower one of them"
        )
