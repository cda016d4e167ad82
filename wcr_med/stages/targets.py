"""Prune to what is wanted of the network rather than to a number: accuracy, size, latency."""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError
from wcr_med.export import require_accelerator
from wcr_med.files import atomic_path, write_json
from wcr_med.provenance import provenance
from wcr_med.pruning import require_repair, require_score
from wcr_med.pruning.bounds import Bound, Bounds, Trial
from wcr_med.pruning.search import COST_WEIGHTS, Found, search
from wcr_med.stages.candidates import Candidates, in_words
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.networks import require_model
from wcr_med.stages.plan import hold_plan
from wcr_med.stages.units import parse_size, parse_time, size_in_words, time_in_words
from wcr_med.stages.workspace import DENSE, Workspace, alone, pruned_name

SCHEMA_VERSION = 1

_OPTIONS: dict[Bound, str] = {
    "max_dice_drop": "--max-dice-drop",
    "max_size": "--max-size",
    "max_latency": "--max-latency",
}


def parse_bounds(*, max_dice_drop: float | None, max_size: str | None, max_latency: str | None) -> Bounds | None:
    """Read the options of `wcr-med prune`; `None` where none is given.

    Args:
        max_dice_drop: in [0, 1).
        max_size: see `parse_size`.
        max_latency: see `parse_time`.

    Raises:
        UserError: a value is out of range or has no unit.
    """
    if max_dice_drop is None and max_size is None and max_latency is None:
        return None
    if max_dice_drop is not None and not 0 <= max_dice_drop < 1:
        raise UserError(f"--max-dice-drop {max_dice_drop:g}: give a difference of Dice of at least 0 and below 1")
    return Bounds(
        max_dice_drop=max_dice_drop,
        max_size_bytes=parse_size(max_size, source="--max-size") if max_size is not None else None,
        max_latency_ms=parse_time(max_latency, source="--max-latency") if max_latency is not None else None,
    )


@alone
def target_stage(workspace: Workspace, bounds: Bounds) -> str:
    """Search for the sparsity that meets the bounds; write its network, its mask and targets.json.

    Always done anew, since latency belongs to the machine and the moment.

    Returns:
        A line for the user: the file, its sparsity, what was measured, which bound holds it.

    Raises:
        UserError: the bounds cannot be met, and the message says what can; there is no dense network; the network would
            be retrained; a latency is asked for without the accelerator. Nothing was written.
    """
    pruning = workspace.config.pruning
    require_score(pruning.score, pruning.cost_weight)
    require_repair(pruning.repair)
    if pruning.finetune_epochs:
        raise UserError(
            f"pruning.finetune_epochs is {pruning.finetune_epochs}, but a target is searched without retraining; set it"
            " to 0, or give --sparsity"
        )
    if bounds.max_latency_ms is not None:
        _require_accelerator()
    require_model(workspace, DENSE)
    hold_plan(workspace)
    patients = open_patients(workspace)
    with tempfile.TemporaryDirectory(prefix="wcr-med-") as folder:
        candidates = Candidates(workspace, patients, bounds, Path(folder))
        found = search(
            bounds,
            candidates.measure,
            cost_weight=pruning.cost_weight,
            others=() if pruning.score == "layer_magnitude" else COST_WEIGHTS,  # it cannot be weighed by cost
            grid=candidates.grid,
        )
        if found.answer is None:
            raise UserError(_refusal(bounds, found, largest=candidates.grid[-1]))
        document = _document(workspace, patients, bounds, found, dense_dice=candidates.dense_dice)
        target = workspace.model_path(pruned_name(found.answer.sparsity))
        _take(candidates.path(found.answer), target)
    write_json(workspace.out / "targets.json", document)
    return _success(target, bounds, found, found.answer)


def plan_of_targets(workspace: Workspace, bounds: Bounds) -> str:
    """What `target_stage` would do, in a line."""
    config, out = workspace.config, workspace.out
    side = "smallest" if bounds.on_file else "largest"
    return (
        f"prune: one-shot, {config.pruning.score}, to the {side} sparsity that meets {_asked(bounds)}, searched on"
        f" {config.split.validation_patients} validation patients; write it to {out / 'models'}, and"
        f" {out / 'targets.json'}"
    )


def _require_accelerator() -> None:
    try:
        require_accelerator()
    except UserError as error:
        raise UserError(f"--max-latency: {str(error).removeprefix('export.accelerate: ')}") from error


def _take(source: Path, target: Path) -> None:
    """Give a kept network, its mask and the mask's counts their names in the run folder; the network last."""
    for suffix in (".mask.safetensors", ".mask.json", ".safetensors"):
        with atomic_path(target.with_suffix(suffix)) as temporary:
            shutil.copyfile(source.with_suffix(suffix), temporary)


def _document(
    workspace: Workspace, patients: Patients, bounds: Bounds, found: Found, *, dense_dice: float
) -> dict[str, Any]:
    assert found.answer is not None
    config = workspace.config
    return {
        "schema_version": SCHEMA_VERSION,
        "network": pruned_name(found.answer.sparsity),
        "bounds": asdict(bounds),
        "answer": found.answer.to_dict(),
        "bound_by": list(found.bound),
        "monotone": found.monotone,
        "dense_dice_patient": dense_dice,
        "trials": [{**trial.to_dict(), "not_met": list(bounds.exceeded(trial))} for trial in found.trials],
        "pruning": config.pruning.model_dump(mode="json", exclude={"ladder", "sparsity", "cost_weight"}),
        "threshold": config.evaluation.threshold,
        "export": config.export.model_dump(mode="json") if bounds.on_file else None,
        "n_validation_patients": len(patients.split.validation),
        "split_hash": patients.split.hash,
        "data_hash": patients.data_hash,
        "provenance": provenance(seed=config.seed),
    }


def _success(target: Path, bounds: Bounds, found: Found, answer: Trial) -> str:
    held = " and ".join(_OPTIONS[bound] for bound in found.bound)
    at_an_end = "met without pruning" if bounds.on_file else "the highest that is tried"
    parts = [f"held by {held}" if held else at_an_end]
    if len({trial.cost_weight for trial in found.trials}) > 1:
        parts.append(
            f"with pruning.cost_weight {answer.cost_weight:g}, since {_asked(bounds)} could not be met without cost"
        )
    if not found.monotone:
        parts.append("a sparsity beyond one that fails meets the bound as well")
    return f"{target}: {in_words(answer)}; {'; '.join(parts)}; {len(found.trials)} tried, see targets.json"


def _refusal(bounds: Bounds, found: Found, *, largest: float) -> str:
    best, refused = found.best, found.refused
    if refused is not None:
        on_file, on_drop = _asked(bounds, drop=False), f"--max-dice-drop {bounds.max_dice_drop:g}"
        text = f"{on_file} and {on_drop} cannot both be met: {in_words(refused)}, no smaller one meets {on_file}"
        end = f"the best within the drop: {in_words(best)}" if best else "no sparsity that was tried keeps to the drop"
    else:
        assert best is not None
        text = f"{_asked(bounds, drop=not bounds.on_file)}: not met by any sparsity up to {largest:g}"
        end = f"the best: {in_words(best)}"
        if not (bounds.file_exceeded(best) if bounds.on_file else bounds.exceeded(best)):
            end += ", which those beside it do not confirm; try again on a machine with nothing else to do"
    return f"{text}; {end}. Nothing was written"


def _asked(bounds: Bounds, *, drop: bool = True) -> str:
    parts = []
    if drop and bounds.max_dice_drop is not None:
        parts.append(f"--max-dice-drop {bounds.max_dice_drop:g}")
    if bounds.max_size_bytes is not None:
        parts.append(f"--max-size {size_in_words(bounds.max_size_bytes)}")
    if bounds.max_latency_ms is not None:
        parts.append(f"--max-latency {time_in_words(bounds.max_latency_ms)}")
    return " and ".join(parts)
