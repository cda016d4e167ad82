"""Result files of a comparison: which there are, and which of them belong in its table."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import Method
from wcr_med.compare.plan import Cell, choose_values, places
from wcr_med.compare.recipe import agree, run_recipe, scoring_recipe
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_json

SCHEMA_VERSION = 1
FAILURE_NAME = "failure.json"

_FIELDS = ("phase", "method", "value", "seed", "fold")

log = logging.getLogger(__name__)


def result_path(folder: Path, scoring: Mapping[str, Any]) -> Path:
    """Where the scores of a training lie: result.json, or beside it where that one was scored in another way."""
    plain = folder / "result.json"
    before = _read(plain)
    if before is None or before["scoring"] == scoring:
        return plain
    return folder / f"result-{sha256_of_json(scoring)[:8]}.json"


def read_result(path: Path) -> dict[str, Any] | None:
    """A result of this schema; `None` where there is none, and, with a warning, where it is damaged."""
    return _read(path)


def load_results(out: Path) -> list[dict[str, Any]]:
    """Every readable result file below a folder, in order of path."""
    found = (_read(path) for path in sorted((out / "trials").glob("*/result*.json")))
    return [result for result in found if result is not None]


def load_failures(out: Path, config: CompareConfig, methods: Sequence[Method]) -> dict[str, str]:
    """Why cells of this comparison failed, by `Cell.key`."""
    found = [_read(path) for path in sorted((out / "trials").glob(f"*/{FAILURE_NAME}"))]
    failures = _of_this_recipe([failure for failure in found if failure is not None], config, methods)
    return {_cell(entry).key: str(failure["message"]) for failure in failures for entry in failure["cells"]}


def fitting(
    results: Sequence[dict[str, Any]],
    config: CompareConfig,
    methods: Sequence[Method],
    failed: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The results that this comparison would make, each with only the cells that it has.

    The folder may also hold trials of another recipe, of methods that changed since, or of images that did. Where the
    tuning of a method at a place is complete, final cells of other strengths than its best are left out too.

    Args:
        results: of `load_results`.
        config: of the comparison; `methods` are its own.
        methods: in any order.
        failed: of `load_failures`; a tuning with failed cells is complete.
    """
    kept = _of_one_data_set(_of_this_recipe(results, config, methods))
    scores: dict[str, float | None] = dict.fromkeys(failed or {})
    for result in kept:
        for entry in result["cells"]:
            scores[_cell(entry).key] = objective(result, config)
    chosen = choose_values(methods, config.study, scores)
    return [
        result | {"cells": cells}
        for result in kept
        if (
            cells := [
                entry
                for entry in result["cells"]
                if entry["phase"] == "tune"
                or entry["value"] == chosen.get((entry["method"], _cell(entry).place), entry["value"])
            ]
        )
    ]


def objective(result: Mapping[str, Any], config: CompareConfig) -> float:
    """What tuning maximises: dice_patient on validation patients at `tuning_sparsity`; of a dense rival, when dense."""
    wanted = (config.study.tuning_sparsity, bool(config.study.repair))
    rungs = result["rungs"]
    at = [rung for rung in rungs if (rung["sparsity"], rung["repaired"]) == wanted]
    return float((at or rungs)[0]["validation_dice"])


def _of_this_recipe(
    results: Sequence[dict[str, Any]], config: CompareConfig, methods: Sequence[Method]
) -> list[dict[str, Any]]:
    by_name = {method.name: method for method in methods}
    there = set(places(config.study))
    kept = []
    for result in results:
        cells = []
        for entry in result["cells"]:
            method, cell = by_name.get(entry["method"]), _cell(entry)
            if method is None or (cell.seed, cell.fold) not in there:
                continue
            run = method.configure(config.run, value=cell.value, seed=cell.seed, fold=cell.fold)
            same = agree(result["configuration"], run_recipe(run))
            if same and agree(result["scoring"], scoring_recipe(config, method, run)):
                cells.append(entry)
        if cells:
            kept.append(result | {"cells": cells})
    return kept


def _of_one_data_set(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts = Counter(result["data_hash"] for result in results)
    if len(counts) <= 1:
        return results
    most = max(counts, key=lambda name: counts[name])
    log.warning("%d results are of other images than most and left out", len(results) - counts[most])
    return [result for result in results if result["data_hash"] == most]


def _cell(entry: Mapping[str, Any]) -> Cell:
    return Cell.from_dict({name: entry[name] for name in _FIELDS})


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        result = read_json(path)
    except UserError as error:
        log.warning("%s; it is left out", error)
        return None
    fits = isinstance(result, dict) and result.get("schema_version") == SCHEMA_VERSION
    return result if fits else None
