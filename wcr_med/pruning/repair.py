"""What is mended after pruning, step by step; none of the steps trains a kernel."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from wcr_med.errors import UserError
from wcr_med.pruning.calibration import Calibration
from wcr_med.pruning.statistics import reestimate_statistics_

_WORDS = {
    "reestimate_statistics": "statistics re-estimated",
    "match_variance": "channel variance matched",
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
        model: the pruned network; moved to the calibration's device, where it stays. Zeros of kernels stay zeros.
        names: of `pruning.repair`: "reestimate_statistics", "match_variance", "tune_biases". Empty: nothing is done.
        calibration: training slices and the training loss.
        dense: the same network before pruning; needed for match_variance alone, and never changed.
        tune_epochs: passes of tune_biases over the slices.

    Returns:
        One JSON-ready record a step, its name under "step": `artefact.with_step(**record)` takes it.

    Raises:
        UserError: a name is unknown, there are no slices, or a result is not finite; steps before it stay done.
    """
    records = []
    model.to(calibration.device)
    for name in names:
        if name == "reestimate_statistics":
            details = reestimate_statistics_(model, (image_NChw for image_NChw, _ in calibration.placed()))
        else:
            raise UserError(f"pruning.repair: {name!r} is not a repair step")
        records.append({"step": name, **details})
    return records


def repair_in_words(names: Sequence[str]) -> str:
    """The steps for a reader: "statistics re-estimated, biases tuned"; "as pruned" where there are none."""
    return ", ".join(_WORDS.get(name, name) for name in names) or "as pruned"
