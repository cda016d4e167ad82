"""`wcr-med compare`: work on the study, then make its tables from the result files."""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path

from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import Method, chosen_methods
from wcr_med.compare.plan import Cell, places, tuning_cells
from wcr_med.compare.results import fitting, load_failures, load_results, objective
from wcr_med.compare.study import Study
from wcr_med.compare.trial import Data, Unfinished, run_cell, training_key
from wcr_med.data.content import content_hash
from wcr_med.data.index import index_patients
from wcr_med.data.split import make_split
from wcr_med.errors import UserError
from wcr_med.report.comparison import write_comparison
from wcr_med.stages.inputs import Patients, check_data, open_cache
from wcr_med.stages.saved_config import write_saved
from wcr_med.stages.workspace import Workspace, require_apart

log = logging.getLogger(__name__)


def compare_stage(
    config: CompareConfig,
    out: Path,
    *,
    max_trials: int | None = None,
    minutes: float | None = None,
    table_only: bool = False,
    retry_failed: bool = False,
    command: str | None = None,
) -> str:
    """Train and score the cells that are missing, then write compare.md, compare.csv, compare.json and figures.

    Several processes may work on one study: give each the same command. An interrupted one goes on where it stopped.

    Args:
        config: of the comparison.
        out: its folder: trials/, study.db, tables and figures.
        max_trials: take at most this many cells.
        minutes: take no new cell after this time.
        table_only: train nothing, look at result files alone.
        retry_failed: take cells anew that failed in an earlier call.
        command: what was typed, for the table.

    Returns:
        A line for the user.

    Raises:
        UserError: a method or field is wrong, the database cannot be used, the folder holds a run, or there is nothing
            to make a table of.
    """
    methods = chosen_methods(config)
    require_apart(out, config.run)
    if any((out / name).exists() for name in ("split.json", "models", "folds")):
        raise UserError(f"{out}: holds a run, whose config.yaml a comparison would replace; choose another --out")
    failures: dict[str, str] = {}
    by_name = {method.name: method for method in methods}
    if not table_only:

        @functools.cache
        def training_of(cell: Cell) -> str:
            return training_key(cell, by_name[cell.method], config)

        study = Study(config, methods, out, training_of=training_of, retry_failed=retry_failed)
        write_saved(out / "config.yaml", config)
        _work(study, config, by_name, out, max_trials=max_trials, minutes=minutes)
        failures = {cell.key: message for cell, message in study.failures()}
    failures |= load_failures(out, config, methods)
    results = fitting(load_results(out), config, methods, failures)
    if not results and not failures:
        raise UserError(
            f"{out}: holds no finished cell yet that is of this comparison; run without --table, or with more --minutes"
        )
    table = write_comparison(
        out,
        results,
        [method.name for method in methods],
        baseline=config.study.baseline,
        failures=list(failures.items()),
        command=command,
    )
    left = len(places(config.study)) * len(methods) - table.n_final
    return f"{table.n_final} final cells scored, {left} left; see {out / 'compare.md'}"


def plan_text(config: CompareConfig) -> str:
    """The methods, their strengths, and how many cells there are, as text.

    Raises:
        UserError: a method or field is wrong.
    """
    methods, study = chosen_methods(config), config.study
    n_tuning, n_places = len(tuning_cells(methods, study)), len(places(study))
    lines = [f"{method.name:24} {_strengths(method, study.tuning_trials)}" for method in methods]
    return "\n".join(
        [
            *lines,
            f"{n_tuning} tuning cells (at {study.tuning_sparsity:.0%} on validation patients), then"
            f" {n_places * len(methods)} final cells: {len(methods)} methods, {n_places} pairs of seed and fold",
            f"{config.run.training.epochs} epochs each, {config.run.model.features} features,"
            f" {config.run.preprocess.height}x{config.run.preprocess.width}",
        ]
    )


def _work(
    study: Study,
    config: CompareConfig,
    by_name: Mapping[str, Method],
    out: Path,
    *,
    max_trials: int | None,
    minutes: float | None,
) -> None:
    if study.complete:
        return
    workspace = Workspace(out=out, config=config.run)
    check_data(workspace)
    entries = index_patients(config.run.data)
    patients = Patients(entries=entries, split=make_split(entries, config.run.split), data_hash=content_hash(entries))
    data = Data(entries=entries, data_hash=patients.data_hash, cache=open_cache(workspace, patients))

    def run(cell: Cell) -> float:
        log.info("cell %s", cell.key)
        return objective(run_cell(cell, by_name[cell.method], config, data, out), config)

    try:
        study.work(run, max_trials=max_trials, seconds=None if minutes is None else 60 * minutes)
    except Unfinished as stopped:
        raise UserError(f"{stopped}; what is finished is kept, give the same command to go on") from None


def _strengths(method: Method, n_trials: int) -> str:
    if method.tune is None:
        return "no strength"
    return f"{method.tune.field}: " + ", ".join(f"{value:g}" for value in method.values(n_trials) if value is not None)
