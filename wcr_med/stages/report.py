"""Gather what the other stages stored, and write the report of it. No network is opened."""

from collections.abc import Mapping, Sequence
from typing import Any

from wcr_med.config import Config
from wcr_med.data.attributes import read_attributes
from wcr_med.data.phantom import is_phantom
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.evaluation.pool import at_level, pool_results
from wcr_med.evaluation.robustness import RobustnessResult, pool_robustness
from wcr_med.model_metadata import METADATA_KEY, ModelMetadata
from wcr_med.onnx_file import read_contents
from wcr_med.provenance import provenance
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.clinical.inputs import Deployment, Design, Leak, Network, Partition, ReportInputs
from wcr_med.report.clinical.write import write_report
from wcr_med.stages.deployment import load_deployments
from wcr_med.stages.facts import FACTS_NAME, NetworkFacts
from wcr_med.stages.folds import fold_workspaces
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.leak import AVERAGES, leak_path, load_leak
from wcr_med.stages.plan import plan_standing
from wcr_med.stages.robustness import load_robustness, network_names, robustness_path
from wcr_med.stages.scores import load_scores, require_definitions, scores_path
from wcr_med.stages.summary import ladder_rows, run_notes, write_run_summary
from wcr_med.stages.trained_as import require_trained_as
from wcr_med.stages.workspace import DENSE, Workspace, alone, pruned_name


@alone
def report_stage(workspace: Workspace, *, command: str | None = None) -> str:
    """Write the report of a run, or of all its folds, into `report/`; of a hold-out summary.md too. Always done anew.

    Both are made of one analysis, so that neither can say what the other does not. summary.md needs the ladder.

    Args:
        workspace: of the whole run; of a cross-validation the folder that holds `folds/`.
        command: what was typed, for the report.

    Returns:
        A line for the user that names the page.

    Raises:
        UserError: a stage has not been run, or what it left does not fit; the message names the file.
    """
    inputs = collect_inputs(workspace, command=command)
    analysis = analyse(inputs)
    if not workspace.config.split.in_turn and analysis.ladder:
        write_run_summary(workspace, inputs, analysis, command=command)
    page = write_report(inputs, workspace.out / "report", analysis=analysis)
    return f"report: {len(inputs.dense.result.rows)} patients, {len(inputs.networks)} networks; open {page}"


def collect_inputs(workspace: Workspace, *, command: str | None = None) -> ReportInputs:
    """Everything that the report of a run is made of.

    Raises:
        UserError: see `report_stage`.
    """
    parts = fold_workspaces(workspace)
    patients = [open_patients(part) for part in parts]
    config, entries = workspace.config, patients[0].entries
    names, primary = network_names(workspace), pruned_name(config.pruning.sparsity)
    scores = {name: _scores(parts, patients, name) for name in names}
    facts = {name: [NetworkFacts.load(part.evaluation_folder(name)) for part in parts] for name in names}
    for name in names:
        require_trained_as(config, facts[name], source=parts[0].evaluation_folder(name) / FACTS_NAME)
    networks = tuple(_network(config, parts, patients, name, scores[name], facts[name]) for name in names)
    standing = plan_standing(workspace, facts[DENSE], facts[primary], splits=[found.split.hash for found in patients])
    return ReportInputs(
        title=f"{config.model.name}, pruned to {100 * config.pruning.sparsity:.6g} % sparsity",
        command=command,
        design=_design(config),
        source="a phantom made by this package" if is_phantom(config.data.root) else f"{config.data.format} layout",
        phantom=is_phantom(config.data.root),
        networks=networks,
        primary=primary,
        entries={entry.patient_id: entry for entry in entries},
        attributes=read_attributes(entries, config.data.root),
        partitions=tuple(
            _partition(found.split, {name: scores[name][place].threshold for name in names})
            for place, found in enumerate(patients)
        ),
        architecture=_architecture(config, facts[DENSE]),
        # Folds score no ladder, and one fold may be reported alone.
        ladder=ladder_rows(workspace) if (workspace.out / "ladder").is_dir() else (),
        robustness=_robustness(parts),
        leak=_leak(workspace, networks[0].result),
        card=config.card,
        settings=config.report,
        evaluation=config.evaluation,
        configuration=config.model_dump(mode="json"),
        provenance=provenance(seed=config.seed),
        notes=run_notes(workspace, [one.provenance.get("commit") for one in facts[DENSE]]),
        commits={
            "training": _named([one.provenance.get("commit") for one in facts[DENSE]]),
            "export": _named(_exported_at(parts, pruned_name(config.pruning.sparsity))),
        },
        plan=standing,
    )


def _exported_at(parts: Sequence[Workspace], name: str) -> list[str | None]:
    """Commits of the code that wrote the exported files of a network, as the files say."""
    commits = []
    for path in [path for part in parts if (path := part.onnx_path(name)).exists()]:
        text = read_contents(path).metadata.get(METADATA_KEY)
        commits.append(ModelMetadata.from_json(text, source=str(path)).provenance.get("export", {}).get("commit"))
    return commits


def _named(commits: Sequence[str | None]) -> str | None:
    """Commits of several folds side by side, each once; `None` where none is known."""
    return ", ".join(dict.fromkeys(commit for commit in commits if commit)) or None


def _design(config: Config) -> Design:
    if config.split.leave_out is not None:
        return "leave-one-institution-out"
    return "cross-validation" if config.split.folds else "hold-out"


def _scores(parts: Sequence[Workspace], patients: Sequence[Patients], name: str) -> list[EvaluationResult]:
    """What each partition stored of a network, with intervals as the configuration has them."""
    results = []
    for part, found in zip(parts, patients, strict=True):
        result = load_scores(part, name, found.split)
        require_definitions(result, part.config.evaluation, source=scores_path(part, name))
        results.append(at_level(result, part.config.evaluation))
    return results


def _network(
    config: Config,
    parts: Sequence[Workspace],
    patients: Sequence[Patients],
    name: str,
    results: Sequence[EvaluationResult],
    facts: Sequence[NetworkFacts],
) -> Network:
    return Network(
        name=name,
        sparsity_prunable=sum(one.sparsity_prunable for one in facts) / len(facts),
        sparsity_all=sum(one.sparsity_all for one in facts) / len(facts),
        n_prunable=facts[0].n_prunable,
        n_all=facts[0].n_all,
        repair=facts[0].repair,
        retrained_epochs=facts[0].retrained_epochs,
        result=pool_results(results, config=config.evaluation, seed=config.seed),
        folders={
            patient_id: part.evaluation_folder(name)
            for part, found in zip(parts, patients, strict=True)
            for patient_id in found.split.test
        },
        deployment=_deployment(parts, name),
    )


def _deployment(parts: Sequence[Workspace], name: str) -> tuple[Deployment, ...]:
    """Of the first fold that exported; the file of every fold has the same shape."""
    for part in parts:
        if found := load_deployments(part.out, name):
            part.vouch("deployment")
            return found
    return ()


def _partition(split: Split, thresholds: Mapping[str, float]) -> Partition:
    return Partition(
        name="hold-out" if split.method == "holdout" else split.method,
        parts={"train": split.train, "validation": split.validation, "test": split.test},
        split_hash=split.hash,
        thresholds=thresholds,
    )


def _architecture(config: Config, dense: Sequence[NetworkFacts]) -> tuple[tuple[str, str], ...]:
    trained: list[Any] = [facts.step("train") or {} for facts in dense]
    first = trained[0]
    minutes = round(sum(step.get("seconds", 0.0) for step in trained) / 60)
    took = "less than a minute" if minutes == 0 else f"{minutes} minute{'s' * (minutes != 1)}"
    regularizer, optimizer = first.get("regularizer", {}), first.get("optimizer", {})
    strength = regularizer.get("strength")
    name = regularizer.get("name", config.regularizer.name)
    robust = optimizer.get("robust", "none")
    folds = f" in all, {len(trained)} trainings" if len(trained) > 1 else ""
    grid = f"{config.preprocess.height} x {config.preprocess.width}"
    epochs = ", ".join(dict.fromkeys(str(step.get("epochs_run", config.training.epochs)) for step in trained))
    return (
        ("Network", f"{config.model.name}, {config.model.features} features, {config.model.in_channels} channels"),
        ("Grid", f"{grid} pixels, {'cropped to the head' if config.preprocess.crop == 'head' else 'whole slice'}"),
        ("Regularizer", name if strength is None or name == "none" else f"{name}, strength {strength:g}"),
        (
            "Loss",
            f"soft Dice over the {config.loss.dice_over} (weight {config.loss.dice:g}), cross-entropy"
            f" (weight {config.loss.cross_entropy:g})",
        ),
        (
            "Optimizer",
            f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}, weight decay"
            f" {config.optimizer.weight_decay:g}" + ("" if robust == "none" else f", {robust}"),
        ),
        ("Training", f"{epochs} epochs of batches of {config.training.batch_size}, {took}{folds}"),
        ("Seed", str(config.seed)),
    )


def _robustness(parts: Sequence[Workspace]) -> RobustnessResult | None:
    """Of all folds; `None` where `report.robustness` asks for none, or no fold has measured it.

    Raises:
        UserError: some folds have measured it and others have not.
    """
    paths = [robustness_path(part) for part in parts]
    missing = [path for path in paths if not path.exists()]
    if not parts[0].config.report.robustness or len(missing) == len(paths):
        return None
    if missing:
        raise UserError(f"{missing[0]}: no such file, but other folds have it; give the command of the run again")
    for part in parts:
        part.vouch("robustness")
    return pool_robustness([load_robustness(path) for path in paths])


def _leak(workspace: Workspace, dense: EvaluationResult) -> Leak | None:
    path = leak_path(workspace)
    if not path.exists():
        return None
    workspace.vouch("leak")
    honest = {name: dense.value(name) for name in AVERAGES if name in dense.averages}
    return load_leak(path, honest=honest)
