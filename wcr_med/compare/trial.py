"""One cell of a comparison: train, or take what is trained, and score; the result is one file."""

import contextlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import Method
from wcr_med.compare.plan import Cell
from wcr_med.compare.recipe import run_recipe, scoring_recipe
from wcr_med.compare.results import FAILURE_NAME, SCHEMA_VERSION, read_result, result_path
from wcr_med.compare.scoring import energy_share, score_ladder
from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.index import PatientEntry
from wcr_med.data.split import Split, make_split
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_json, write_json
from wcr_med.locks import holding, remove_unfinished
from wcr_med.models import build_model, prunable_parameters
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer
from wcr_med.stages.workspace import Workspace
from wcr_med.training import deciding_fields, processor_settings, train
from wcr_med.training.checkpoint import load_weights_, save_weights

WEIGHTS_NAME = "dense.safetensors"

_TRAINING_NAME = "training.json"


class Unfinished(Exception):  # noqa: N818 - no error of the training
    """A cell could not be done for a reason outside of it, such as a full disk: it stays open, and the worker stops."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The patients of a comparison, indexed and prepared once for all cells."""

    entries: tuple[PatientEntry, ...]
    data_hash: str
    cache: SliceCache


def run_cell(cell: Cell, method: Method, config: CompareConfig, data: Data, out: Path) -> dict[str, Any]:
    """Train what is not trained yet, score what is not scored yet, write and return the result.

    Cells of equal configuration share a folder, named by its hash: what tuning has trained is not trained again. A
    result file alone counts as done, without its network.

    Raises:
        UserError: the training fails, which failure.json then tells, or the data do not fit the configuration.
        Unfinished: a file cannot be read or written.
    """
    run = method.configure(config.run, value=cell.value, seed=cell.seed, fold=cell.fold)
    split = make_split(data.entries, run.split)
    folder = trial_folder(out, run, split, data.data_hash)
    with contextlib.ExitStack() as stack:
        try:
            # A worker that was taken for dead may still be at it, and studies in other databases share these folders.
            stack.enter_context(holding(folder, patient=True))
        except UserError as error:
            raise Unfinished(str(error)) from error
        remove_unfinished(folder)
        return _run(cell, method, config, data, run=run, split=split, folder=folder)


def _run(
    cell: Cell, method: Method, config: CompareConfig, data: Data, *, run: Config, split: Split, folder: Path
) -> dict[str, Any]:
    scoring, entry = scoring_recipe(config, method, run), _entry(cell, method)
    record = {
        "schema_version": SCHEMA_VERSION,
        "cells": [entry],
        "split_hash": split.hash,
        "data_hash": data.data_hash,
        "scoring": scoring,
        "configuration": run_recipe(run),
        "provenance": provenance(seed=cell.seed),
    }
    path = result_path(folder, scoring)
    before = read_result(path)
    if before is not None and (cell.phase == "tune" or before["rungs"][0]["patients"] is not None):
        return _remember(path, before, entry)
    try:
        with processor_settings(run.training.threads):
            model, training = _trained(folder, run, split, data)
            rungs = score_ladder(
                model,
                data.cache,
                split,
                run,
                sparsities=scoring["sparsities"],
                repair=config.study.repair,
                test=cell.phase == "final",
            )
    except UserError as error:
        if _is_outside(error):
            raise Unfinished(str(error)) from error
        write_json(folder / FAILURE_NAME, record | {"message": str(error)})
        raise
    n_weights = sum(parameter.numel() for parameter in model.parameters())
    result = record | {
        "cells": [] if before is None else before["cells"],
        "n_patients": {part: len(getattr(split, part)) for part in ("train", "validation", "test")},
        "training": training,
        "energy_top5": energy_share(model),
        "n_weights": n_weights,
        "n_prunable": sum(kernel.numel() for kernel in prunable_parameters(model).values()),
        "bytes_fp32": 4 * n_weights,
        "rungs": [rung.to_dict() for rung in rungs],
    }
    result = _remember(path, result, entry)
    (folder / FAILURE_NAME).unlink(missing_ok=True)
    if cell.phase == "final" and not config.study.keep_weights:
        (folder / WEIGHTS_NAME).unlink(missing_ok=True)
    return result


def training_key(cell: Cell, method: Method, config: CompareConfig) -> str:
    """Equal for cells of one training, whose scoring alone may differ; of the configuration, without the images."""
    run = method.configure(config.run, value=cell.value, seed=cell.seed, fold=cell.fold)
    return sha256_of_json(run_recipe(run))


def trial_folder(out: Path, run: Config, split: Split, data_hash: str) -> Path:
    """Where a training lies: under the hash of all that decides its weights."""
    key = sha256_of_json({"deciding": deciding_fields(run), "split": split.hash, "data": data_hash})
    return out / "trials" / key[:16]


def _trained(folder: Path, run: Config, split: Split, data: Data) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network, and a record of its training."""
    model = build_model(run.model, seed=run.seed)
    if (folder / WEIGHTS_NAME).exists() and (folder / _TRAINING_NAME).exists():
        load_weights_(folder / WEIGHTS_NAME, model)
        return model.eval(), dict(read_json(folder / _TRAINING_NAME))
    workspace = Workspace(out=folder, config=run)
    result = train(
        model,
        data.cache,
        split,
        run,
        folder=workspace.train_folder,
        regularizer=build_regularizer(run.regularizer),
        data_hash=data.data_hash,
        resume=True,
    )
    speeds = _speeds(workspace.train_folder / "history.csv")
    training = asdict(result) | {"images_per_second": speeds}
    save_weights(folder / WEIGHTS_NAME, model)
    write_json(folder / _TRAINING_NAME, training)
    shutil.rmtree(workspace.train_folder, ignore_errors=True)  # checkpoints, many times the network's size
    return model, training


def _speeds(history: Path) -> list[float]:
    """Slices a second of each epoch."""
    header, *rows = history.read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("images_per_second")
    return [float(row.split(",")[column]) for row in rows]


def _entry(cell: Cell, method: Method) -> dict[str, Any]:
    """A cell as it stands in its file, so that tables need nothing but these files."""
    return cell.to_dict() | {
        "label": method.label,
        "tuned_field": None if method.tune is None else method.tune.field,
        "dense_only": method.dense_only,
    }


def _remember(path: Path, result: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Enter a cell into its result, and write it."""
    if entry not in result["cells"]:
        result = result | {"cells": [*result["cells"], entry]}
    write_json(path, result)
    return result


def _is_outside(error: UserError) -> bool:
    """Whether the operating system is at fault, and not the training."""
    return isinstance(error.__cause__ or error.__context__, OSError)
