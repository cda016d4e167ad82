"""Two run folders side by side, from what they stored."""

from collections.abc import Sequence
from pathlib import Path

from wcr_med.config import Config, load_config
from wcr_med.data.phantom import is_phantom
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PlanStanding, StudyPlan
from wcr_med.evaluation.pool import pool_results
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.locks import holding
from wcr_med.report.clinical.formats import number
from wcr_med.report.side_by_side import RunEvaluation, SideBySide, compare_runs, write_side_by_side
from wcr_med.report.side_by_side.page import verdict_words
from wcr_med.stages.facts import FACTS_NAME, NetworkFacts
from wcr_med.stages.plan import plan_standing
from wcr_med.stages.saved_config import check_saved
from wcr_med.stages.scores import load_scores
from wcr_med.stages.workspace import DENSE, Workspace, folds_folder, pruned_name


def side_by_side_stage(run_a: Path, run_b: Path, out: Path, *, model: str | None = None) -> str:
    """Compare the stored evaluations of two runs; writes compare.html, compare.json and per_patient.csv into `out`.

    Args:
        run_a: folder of the run that the other is set against; its margin decides.
        run_b: folder of the other run.
        out: made if it is missing.
        model: name of a network in both runs; `None`: in each the pruned network of its pruning.sparsity.

    Returns:
        A line for the user.

    Raises:
        UserError: a folder is no run, or holds no evaluation of the network; an evaluation is of another split; the
            runs have no test patient in common, or were scored on different masks; both are one folder; `out` is one of
            the runs.
    """
    if run_a.resolve() == run_b.resolve():
        raise UserError(f"{run_a}: is given twice; name two different run folders")
    for run in (run_a, run_b):
        if out.resolve() == run.resolve():
            raise UserError(f"--out {out}: is one of the runs; name another folder")
    if (out / "config.yaml").exists():
        raise UserError(
            f"--out {out}: holds a run or a comparison, whose tables would be replaced; name another folder"
        )
    names = _names(run_a, run_b)
    with holding(run_a, shared=True), holding(run_b, shared=True):
        comparison = compare_runs(
            _load(run_a, model, name=names[0]),
            _load(run_b, model, name=names[1]),
        )
    with holding(out):
        page = write_side_by_side(comparison, out)
    return _line(comparison, page)


def _load(folder: Path, model: str | None, *, name: str) -> RunEvaluation:
    saved = folder / "config.yaml"
    if not saved.is_file():
        raise UserError(f"{folder}: holds no config.yaml; give the folder of a run")
    check_saved(saved, Config)
    config = load_config(saved)
    network = model or pruned_name(config.pruning.sparsity)
    folders = _part_folders(folder, config)
    parts = [_load_part(part, config, network) for part in folders]
    results = [result for result, _ in parts]
    return RunEvaluation(
        name=name,
        network=network,
        result=pool_results(results, config=config.evaluation, seed=config.seed),
        splits=tuple(split for _, split in parts),
        evaluation=config.evaluation,
        settings=config.report,
        configuration=config.model_dump(mode="json"),
        phantom=is_phantom(config.data.root),
        plan=_standing(folder, config, folders, network, [split.hash for _, split in parts]),
        planned={} if (plan := StudyPlan.load(folder)) is None else plan.fields,
    )


def _standing(
    folder: Path, config: Config, folders: Sequence[Path], network: str, splits: Sequence[str]
) -> PlanStanding:
    """How the stored scores stand to the run's plan; an exported file stands as the network that it was made of."""
    parts = [Workspace(out=part, config=config) for part in folders]
    name = network.removesuffix("-onnx")
    paths = [part.evaluation_folder(one) / FACTS_NAME for part in parts for one in (DENSE, name)]
    if missing := [path for path in paths if not path.exists()]:
        return PlanStanding.without(f"{missing[0].relative_to(folder)} is missing")
    dense, pruned = ([NetworkFacts.load(part.evaluation_folder(one)) for part in parts] for one in (DENSE, name))
    return plan_standing(Workspace(out=folder, config=config), dense, pruned, splits=splits)


def _part_folders(folder: Path, config: Config) -> list[Path]:
    """The run itself, or its folds in order. The images are not looked at, so a run can be compared without them."""
    if not config.split.in_turn:
        return [folder]
    inside = folds_folder(folder)
    if config.split.leave_out is None:
        folds = [inside / str(number) for number in range(config.split.folds)]
    else:
        folds = sorted(path for path in inside.glob("*") if path.is_dir() and not path.name.isdigit())
    missing = [fold for fold in folds if not (fold / "split.json").is_file()]
    if missing or not folds:
        where = missing[0] if missing else inside
        raise UserError(f"{where}: was not run yet, and the configuration asks for every fold; run `wcr-med run` first")
    return folds


def _load_part(folder: Path, config: Config, network: str) -> tuple[EvaluationResult, Split]:
    split = Split.load(folder / "split.json")
    return load_scores(Workspace(out=folder, config=config), network, split), split


def _names(run_a: Path, run_b: Path) -> tuple[str, str]:
    """Names of the folders; where these agree, the paths as typed."""
    names = (run_a.resolve().name, run_b.resolve().name)
    return names if names[0] != names[1] else (str(run_a), str(run_b))


def _line(comparison: SideBySide, page: Path) -> str:
    short, _ = verdict_words(comparison)
    difference = number(comparison.paired.mean_difference, 4, signed=True)
    return (
        f"{comparison.b.name} against {comparison.a.name}: dice_patient {difference} on {comparison.n_common} common"
        f" patients. {short}. See {page}"
    )
