"""The main job: every stage in its order, and the plan of it."""

import logging
from collections.abc import Sequence

from wcr_med.data.index import index_patients
from wcr_med.data.split import make_split
from wcr_med.errors import UserError
from wcr_med.export import require_accelerator
from wcr_med.pruning import RETRAINED, repair_in_words
from wcr_med.regularizers import strength_and_schedule
from wcr_med.stages.deployment import deployment_stage
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage
from wcr_med.stages.folds import fold_workspaces, run_folds
from wcr_med.stages.inputs import check_data
from wcr_med.stages.ladder import ladder_stage
from wcr_med.stages.leak import leak_path, leak_stage
from wcr_med.stages.prune import at_sparsity, check_pruning, prune_stage, pruned_sparsities
from wcr_med.stages.report import report_stage
from wcr_med.stages.robustness import network_names, robustness_stage
from wcr_med.stages.train import train_stage
from wcr_med.stages.workspace import DENSE, Workspace, alone, folds_folder, pruned_name

log = logging.getLogger(__name__)


@alone
def run_stages(workspace: Workspace, *, command: str | None = None, show_leak: bool = False) -> None:
    """Do the whole job, of every fold where the configuration stands for several. What is done before is kept.

    Each fold is a run folder of its own. All train, prune, score and disturb; the first exports, since the files of all
    have one shape. The ladder and the summary belong to a hold-out.

    Args:
        workspace: the run folder and its configuration.
        command: what was typed, for summary and report.
        show_leak: also train on a split of slices, for the report's warning.

    Raises:
        UserError: a stage cannot go on; what was finished before stays.
    """
    check_pruning(workspace.config.pruning)
    if workspace.config.export.accelerate:
        require_accelerator()  # not after hours of training
    check_data(workspace)
    in_turn = workspace.config.split.in_turn
    run_folds(workspace, lambda part, number: _run_part(part, ladder=not in_turn, export=number == 0))
    if show_leak:
        log.warning(leak_stage(workspace))
    log.info(report_stage(workspace, command=command))


def _run_part(workspace: Workspace, *, ladder: bool, export: bool) -> None:
    train_stage(workspace)
    for sparsity in pruned_sparsities(workspace.config.pruning):
        prune_stage(at_sparsity(workspace, sparsity))
    if ladder:
        ladder_stage(workspace)
    names = network_names(workspace)
    for name in names:
        log.info(evaluate_stage(workspace, name))
    if export:
        for name in names:
            log.info(export_stage(workspace, name))
        log.info(evaluate_stage(workspace, pruned_name(workspace.config.pruning.sparsity), onnx=True))
        log.info(deployment_stage(workspace))
    log.info(robustness_stage(workspace))


def plan(
    workspace: Workspace,
    *,
    stages: Sequence[str] = (
        "check",
        "train",
        "prune",
        "ladder",
        "evaluate",
        "export",
        "deployment",
        "robustness",
        "leak",
        "summary",
        "report",
    ),
    show_leak: bool = False,
) -> str:
    """The resolved configuration and what each stage would do, as text. Nothing is written.

    Args:
        workspace: the run folder and its configuration.
        stages: by name, in order; of several folds without those that belong to a hold-out.
        show_leak: also the training on a split of slices.

    Raises:
        UserError: the data folder exists but cannot be indexed, or holds too few patients for the split.
    """
    steps = _steps(workspace)
    left_out = {"ladder", "summary"} if workspace.config.split.in_turn else set()
    left_out |= set() if show_leak else {"leak"}
    return "\n".join(
        [
            "# resolved configuration",
            workspace.config.to_yaml(),
            f"# plan, in {workspace.out}",
            *_data_lines(workspace),
            *(f"{stage}: {steps[stage]}" for stage in stages if stage not in left_out),
        ]
    )


def _data_lines(workspace: Workspace) -> list[str]:
    config = workspace.config
    root = config.data.root
    if not root.exists():
        if config.data.phantom_patients:
            return [f"data: a phantom of {config.data.phantom_patients} patients will be written to {root}"]
        raise UserError(f"{root}: no such folder; set data.root with --set data.root=/path/to/kaggle_3m")
    entries = index_patients(config.data)
    lines = []
    for part in fold_workspaces(workspace):
        split = make_split(entries, part.config.split)
        lines.append(
            f"data: {len(entries)} patients in {root}; {len(split.train)} train, {len(split.validation)} validate,"
            f" {len(split.test)} test ({split.method}, split {split.hash[:12]})"
        )
    return lines


def _steps(workspace: Workspace) -> dict[str, str]:
    config, out = workspace.config, workspace.out
    pruned = ", ".join(pruned_name(sparsity) for sparsity in pruned_sparsities(config.pruning))
    at = ", ".join(f"{sparsity:.6g}" for sparsity in pruned_sparsities(config.pruning))
    where = folds_folder(out) / "*" if config.split.in_turn else out
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
        f" write {where / 'models' / 'dense.safetensors'}",
        "prune": f"{method} to {at}, {mended or 'no repair'}{retrained}; write {where / 'models'}",
        "ladder": f"score sparsities {rungs} %, as pruned" + (f", and {mended}" if mended else ""),
        "evaluate": f"test patients, {DENSE} and {pruned}; write {where / 'evaluation'}",
        "export": f"ONNX, storage {config.export.storage}, values {config.export.values}, checked against PyTorch"
        f"{second}; write {(folds_folder(out) / '(the first)' if config.split.in_turn else out) / 'export'}",
        "deployment": f"time the exported files on this machine, {config.report.bench_runs} runs each",
        "robustness": f"score under {', '.join(config.report.robustness) or 'no disturbances'}",
        "leak": f"train once more on a split of slices, as a warning and no result; write {leak_path(workspace)}",
        "summary": f"write {out / 'summary.md'}, summary.json and figures",
        "report": f"write {out / 'report' / 'report.html'}, metrics.json, tables and masks",
    }
