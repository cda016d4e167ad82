"""Which result files belong in a table, and what a cell leaves when it fails."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wcr_med.compare import trial
from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import chosen_methods
from wcr_med.compare.plan import Cell
from wcr_med.compare.recipe import first_difference, run_recipe, scoring_recipe, study_recipe
from wcr_med.compare.results import fitting, load_failures, load_results, result_path
from wcr_med.compare.stage import compare_stage
from wcr_med.compare.study import Study
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors

Build = Callable[..., CompareConfig]


def made(
    config: CompareConfig,
    *,
    method: str,
    value: float | None = None,
    seed: int = 0,
    phase: str = "final",
    **fields: Any,
) -> dict[str, Any]:
    """What a cell of this comparison leaves, without training it."""
    row = {own.name: own for own in chosen_methods(config)}[method]
    run = row.configure(config.run, value=value, seed=seed, fold=None)
    return {
        "schema_version": 1,
        "cells": [{"phase": phase, "method": method, "value": value, "seed": seed, "fold": None, "label": method}],
        "data_hash": "d",
        "scoring": scoring_recipe(config, row, run),
        "configuration": run_recipe(run),
        "rungs": [
            {"sparsity": 0.0, "repaired": False, "validation_dice": 0.9},
            {"sparsity": 0.5, "repaired": True, "validation_dice": 0.8},
        ],
        **fields,
    }


def fits(config: CompareConfig, *results: dict[str, Any]) -> list[int]:
    """The places of those that belong in its table."""
    marked = [result | {"place": place} for place, result in enumerate(results)]
    return [result["place"] for result in fitting(marked, config, chosen_methods(config))]


def test_trials_of_other_recipes_methods_and_seeds_are_left_out(comparison: Build) -> None:
    config = comparison(["none", "l1"], tuning_trials=1)
    longer = {"training": {"epochs": 2, "batch_size": 16, "loader_workers": 0, "threads": 1}}
    strong = {"none": None, "mine": {"set": {"regularizer.name": "l1", "regularizer.strength": 0.5}}}
    weak = {"none": None, "mine": {"set": {"regularizer.name": "l1", "regularizer.strength": 0.1}}}
    own = made(config, method="none")
    assert fits(config, own, made(comparison(run=longer), method="none")) == [0]
    assert fits(config, own, made(comparison(sparsities=[0.5]), method="none")) == [0]
    assert fits(
        config, own, made(config, method="none", seed=7), made(comparison(["none", "hoyer"]), method="none")
    ) == [
        0,
        2,  # the same training, whatever else was compared
    ]
    assert fits(config, made(comparison(["none", "hoyer"]), method="hoyer", value=1e-3)) == []
    assert fits(comparison(strong), made(comparison(weak), method="mine")) == []
    assert fits(comparison(strong), made(comparison(strong), method="mine")) == [0]


def test_a_field_that_an_older_version_lacks_is_no_difference(comparison: Build) -> None:
    config = comparison(["none"])
    older = made(config, method="none")
    del older["configuration"]["optimizer"]["rho"]
    assert fits(config, older) == [0]


def test_results_of_other_images_are_left_out(comparison: Build, caplog: pytest.LogCaptureFixture) -> None:
    config = comparison(["none"])
    results = [made(config, method="none", seed=seed) for seed in (0, 1)]
    assert fits(config, made(config, method="none", data_hash="other"), *results) == [1, 2]
    assert "1 results are of other images" in caplog.text


def test_only_finals_of_the_chosen_strength_are_in_the_table(comparison: Build) -> None:
    config = comparison(["none", "l1"])
    low, high = (row for row in chosen_methods(config)[1].values(2))
    worse, better = (
        made(
            config,
            method="l1",
            value=value,
            seed=1,
            phase="tune",
            rungs=[{"sparsity": 0.5, "repaired": True, "validation_dice": dice}],
        )
        for value, dice in ((low, 0.4), (high, 0.6))
    )
    finals = [made(config, method="l1", value=value, seed=1) for value in (low, high)]
    assert fits(config, worse, better, *finals) == [0, 1, 3]
    assert fits(config, *finals) == [0, 1]  # the tuning is not there to tell


def test_a_folder_keeps_results_that_were_scored_in_two_ways(tmp_path: Path) -> None:
    one, other = {"repair": ["a"]}, {"repair": []}
    assert result_path(tmp_path, one).name == "result.json"
    (tmp_path / "result.json").write_text(json.dumps({"schema_version": 1, "scoring": one}))
    assert result_path(tmp_path, one).name == "result.json"
    assert result_path(tmp_path, other).name.startswith("result-")


def test_methods_that_differ_in_pruning_alone_share_the_training(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings, train = [], trial.train

    def counting(*args: Any, **kwargs: Any) -> Any:
        trainings.append(1)
        return train(*args, **kwargs)

    monkeypatch.setattr(trial, "train", counting)
    methods = {"none": None, "lamp": {"set": {"pruning.score": "lamp"}}}
    assert compare_stage(comparison(methods, seeds=[0]), tmp_path).startswith("2 final cells scored, 0 left")
    assert len(trainings) == 1
    assert len(load_results(tmp_path)) == 2


def test_a_full_disk_stops_the_worker_and_leaves_the_cell_open(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> Any:
        with explain_os_errors(tmp_path):
            raise OSError(errno.ENOSPC, "full")

    config = comparison(["none"], seeds=[0])
    with monkeypatch.context() as patched:
        patched.setattr(trial, "train", full)
        with pytest.raises(UserError, match=r"the disk is full.*what is finished is kept"):
            compare_stage(config, tmp_path)
    assert compare_stage(config, tmp_path).startswith("1 final cells scored, 0 left")


def test_a_failure_is_told_by_the_table_alone_too(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_args: Any, **_kwargs: Any) -> Any:
        raise UserError("the loss is nan")

    config = comparison(["none"], seeds=[0])
    monkeypatch.setattr(trial, "train", failing)
    compare_stage(config, tmp_path)
    (tmp_path / "study.db").unlink()
    assert load_failures(tmp_path, config, chosen_methods(config)) == {"final/none/None/0/None": "the loss is nan"}
    compare_stage(config, tmp_path, table_only=True)
    assert "the loss is nan" in (tmp_path / "compare.md").read_text()


def test_a_method_that_changed_is_refused_and_one_that_is_new_is_not(comparison: Build, tmp_path: Path) -> None:
    weak, strong = (
        comparison({"none": None, "mine": {"set": {"regularizer.strength": value}}}) for value in (0.1, 0.2)
    )
    Study(weak, chosen_methods(weak), tmp_path)
    with pytest.raises(UserError, match=r"was begun with methods\.mine .* now it is"):
        Study(strong, chosen_methods(strong), tmp_path)
    more = comparison(["none", "l1"])
    Study(more, chosen_methods(more), tmp_path)
    assert first_difference(study_recipe(weak, chosen_methods(weak)), study_recipe(more, chosen_methods(more))) is None


def test_finals_come_column_by_column_even_where_a_tuning_ends_late(comparison: Build, tmp_path: Path) -> None:
    config = comparison(["none", "l1"], seeds=[0, 1, 2])
    methods = chosen_methods(config)
    first, taken = [True], []

    def run(cell: Cell) -> float:
        if first and cell.phase == "tune":
            first.clear()  # while this one is at it, another worker takes what there is
            Study(config, methods, tmp_path).work(helper, max_trials=2)
        taken.append(cell)
        return 0.5

    def helper(cell: Cell) -> float:
        taken.append(cell)
        return 0.4

    Study(config, methods, tmp_path).work(run)
    finals = [(cell.seed, cell.method) for cell in taken if cell.phase == "final"]
    assert finals == [(0, "none"), (0, "l1"), (1, "none"), (1, "l1"), (2, "none"), (2, "l1")]
