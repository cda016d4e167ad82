"""The main job: every stage in its order, and the plan of it."""

import logging
from collections.abc import Sequence

from wcr_med.config import Config
from wcr_med.data.index import index_patients
from wcr_med.data.split import make_split
from wcr_med.errors import UserError
from wcr_med.export import require_accelerator
from wcr_med.pruning import RETRAINED, repair_in_words
from wcr_med.regularizers import strength_and_schedule
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage
from wcr_med.stages.inputs import check_data
from wcr_med.stages.ladder import ladder_stage
from wcr_med.stages.prune import check_pruning, prune_stage
from wcr_med.stages.summary import summary_stage
from wcr_med.stages.train import train_stage
from wcr_med.stages.workspace import DENSE, Workspace, pruned_name

log = logging.getLogger(__name__)


def run_stages(workspace: Workspace, *, command: str | None = None) -> None:
    """Do the whole job. Stages that are done with the same settings are kept.

    Args:
        workspace: the run folder and its configuration.
        command: what was typed, for the summary.

    Raises:
        UserError: a stage cannot go on; what was finished before stays.
    """
    check_pruning(workspace.config.pruning)
    if workspace.config.export.accelerate:
        require_accelerator()  # not after hours of training
    check_data(workspace)
    train_stage(workspace)
    prune_stage(workspace)
    ladder_stage(workspace)
    pruned = pruned_name(workspace.config.pruning.sparsity)
    for name in (DENSE, pruned):
        log.info(evaluate_stage(workspace, name))
        log.info(export_stage(workspace, name))
    log.info(evaluate_stage(workspace, pruned, onnx=True))
    summary_stage(workspace, command=command)


def plan(
    workspace: Workspace,
    *,
    stages: Sequence[str] = ("check", "train", "prune", "ladder", "evaluate", "export", "summary"),
) -> str:
    """The resolved configuration and what each stage would do, as text. Nothing is written.

    Raises:
        UserError: the data folder exists but cannot be indexed, or holds too few patients for the split.
    """
    lines = [
        "# resolved configuration",
        workspace.config.to_yaml(),
        f"# plan, in {workspace.out}",
        _data_line(workspace.config),
    ]
    steps = _steps(workspace)
    return "\n".join([*lines, *(f"{stage}: {steps[stage]}" for stage in stages)])


def _data_line(config: Config) -> str:
    root = config.data.root
    if not root.exists():
        if config.data.phantom_patients:
            return f"data: a phantom of {config.data.phantom_patients} patients will be written to {root}"
        raise UserError(f"{root}: no such folder; set data.root with --set data.root=/path/to/kaggle_3m")
    entries = index_patients(config.data)
    split = make_split(entries, config.split)
    return (
        f"data: {len(entries)} patients in {root}; {len(split.train)} train, {len(split.validation)} validate,"
        f" {len(split.test)} test (split {split.hash[:12]})"
    )


def _steps(workspace: Workspace) -> dict[str, str]:
    config, out = workspace.config, workspace.out
    pruned = pruned_name(config.pruning.sparsity)
    strength, _ = strength_and_schedule(config.regularizer)
    name = config.regularizer.name
    term = "no regularizer" if name == "none" else f"{name} of strength {strength:g}"
    mended = repair_in_words(config.pruning.repair) if config.pruning.repair else ""
    pruning = config.pruning
    epochs = pruning.finetune_epochs
    retrained = f", {epochs} epoch{'s' * (epochs > 1)} with the mask held" if epochs else ""
    method = f"{RETRAINED if retrained else 'one-shot'}, {pruning.score}"
    method += " against cost" if pruning.cost_weight else ""
    second = ", and a second file tuned on this machine" if config.export.accelerate else ""
    rungs = ", ".join(f"{100 * rung:g}" for rung in config.pruning.ladder)
    return {
        "check": f"audit every file, write {out / 'audit.json'}, stop at an error",
        "train": f"{config.model.name}, {config.training.epochs} epochs, {config.optimizer.name}, {term};"
        f" write {workspace.model_path(DENSE)}",
        "prune": f"{method} to {config.pruning.sparsity:.6g}, {mended or 'no repair'}{retrained};"
        f" write {workspace.model_path(pruned)}",
        "ladder": f"score sparsities {rungs} %, as pruned" + (f", and {mended}" if mended else ""),
        "evaluate": f"test patients, {DENSE} and {pruned}; write {out / 'evaluation'}",
        "export": f"ONNX, storage {config.export.storage}, values {config.export.values}, checked against PyTorch"
        f"{second}; write {out / 'export'}",
        "summary": f"write {out / 'summary.md'}, summary.json and figures",
    }
