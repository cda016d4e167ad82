"""What is mended after pruning, step by step; none of the steps trains a kernel by gradients."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning.biases import tune_biases_
from wcr_med.pruning.calibration import Calibration
from wcr_med.pruning.reconstruction import reconstruct_
from wcr_med.pruning.statistics import reestimate_statistics_
from wcr_med.pruning.variance import match_variance_

RETRAINED = "retrained: not one-shot"
"""What every account of a fine-tuned network says."""

_NEED_DENSE = ("match_variance", "reconstruct")
_WORDS = {
    "reestimate_statistics": "statistics re-estimated",
    "match_variance": "channel variance matched",
    "reconstruct": "surviving weights refitted",
    "tune_biases": "biases tuned",
}


def repair_(
    model: nn.Module,
    names: Sequence[str],
    calibration: Calibration,
    *,
    dense: nn.Module | None = None,
    tune_epochs: int = 1,
) -> list[dict[str, Any]]:
    """Do the named repair steps on a pruned network, in place and in the given order.

    Args:
        model: the pruned network; placed on the calibration's processor, where it stays. Zeros of kernels stay zeros.
        names: of `pruning.repair`: "reestimate_statistics", "match_variance", "reconstruct", "tune_biases". Empty:
            nothing is done.
        calibration: training slices and the training loss.
        dense: the same network before pruning; needed for match_variance and reconstruct. Placed on the same processor,
            otherwise left as it is.
        tune_epochs: passes of tune_biases over the slices.

    Returns:
        One JSON-ready record a step, its name under "step": `artefact.with_step(**record)` takes it.

    Raises:
        UserError: see `require_repair`; or there are no slices, or a result is not finite; steps before it stay done.
        ValueError: match_variance or reconstruct without `dense`.
    """
    require_repair(names)
    records = []
    calibration.processor.place_model(model)
    for name in names:
        if name in _NEED_DENSE:
            if dense is None:
                raise ValueError(f"{name} needs the dense network")
            calibration.processor.place_model(dense)
        records.append({"step": name, **_repair(model, name, calibration, dense, tune_epochs)})
    return records


def _repair(
    model: nn.Module, name: str, calibration: Calibration, dense: nn.Module | None, tune_epochs: int
) -> dict[str, Any]:
    images = (image_NChw for image_NChw, _ in calibration.placed())
    if name == "reestimate_statistics":
        return reestimate_statistics_(model, images)
    if name == "tune_biases":
        return tune_biases_(model, calibration, epochs=tune_epochs)
    assert dense is not None
    return (
        match_variance_(model, dense, images) if name == "match_variance" else reconstruct_(model, dense, calibration)
    )


def needs_dense(names: Sequence[str]) -> bool:
    """Whether a step matches the network before pruning."""
    return any(name in _NEED_DENSE for name in names)


def require_repair(names: Sequence[str]) -> None:
    """Check names and order of repair steps, before anything is trained or pruned.

    Raises:
        UserError: a name is unknown, or one that matches the dense network does not come first.
    """
    for place, name in enumerate(names):
        if name not in _WORDS:
            raise UserError(f"pruning.repair: {name!r} is not a step; there are {', '.join(_WORDS)}")
        if name in _NEED_DENSE and place:
            raise UserError(
                f"pruning.repair: {name} must come first: it matches the dense network, whose statistics and"
                f" biases {names[0]} has replaced by then"
            )


def repair_in_words(names: Sequence[str]) -> str:
    """The steps for a reader: "statistics re-estimated, biases tuned"; "as pruned" where there are none."""
    return ", ".join(_WORDS.get(name, name) for name in names) or "as pruned"
