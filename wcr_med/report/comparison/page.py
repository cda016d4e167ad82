"""The comparison as a Markdown page."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wcr_med.files import sha256_of_json
from wcr_med.report.comparison.ladders import METRICS, Interval
from wcr_med.report.comparison.rows import DENSE, MethodRow, Rung

_COST_CAVEAT = (
    "Seconds a slice are medians over epochs, paired by training; they mean something only where nothing else ran on"
    " the machine. Layers emptied have no weight left; the most of any training."
)
_TITLES = {
    "dice_patient": "`dice_patient`: mean Dice over patients",
    "f1_pooled": "`f1_pooled`: one count over all pixels of all test patients",
}


def page(
    rows: Sequence[MethodRow],
    results: Sequence[Mapping[str, Any]],
    *,
    missing: Sequence[str],
    failures: Sequence[tuple[str, str]],
    baseline: str,
    command: str | None,
    figures: Sequence[str],
) -> str:
    """The page as text.

    Args:
        rows: of `build_rows`.
        results: what they were made from.
        missing: methods without a final training.
        failures: cells that failed, and why.
        baseline: the method that the others are set against.
        command: what was typed.
        figures: names of figures beside the page, without suffix.
    """
    others = [row for row in rows if row.method != baseline]
    parts = ["# Training methods compared", _recipe(results), _reading(rows, baseline)]
    if command:
        parts.append(f"Made by\n\n```console\n{command}\n```")
    for metric in METRICS:
        parts += [f"## {_TITLES[metric]}", _scores(rows, metric)]
        parts += [f"![{metric} against sparsity]({name}.svg)" for name in figures if name == f"compare_{metric}"]
    parts += ["## What pruning cost, after repair", _costs(rows, "to_own_dense")]
    parts += [f"## Against the dense network of {baseline}, after repair", _costs(rows, "to_baseline")]
    parts += [f"## Against {baseline}, pruned and repaired alike", _costs(others, "to_baseline_alike")]
    parts += ["## Training and weights", _weights(rows, baseline), _COST_CAVEAT]
    parts += [f"![Survivors by layer]({name}.svg)" for name in figures if name == "compare_survivors"]
    if missing:
        parts.append("Not trained yet: " + ", ".join(missing) + ".")
    if failures:
        parts += ["## Failed", "\n".join(f"- `{cell}`: {message}" for cell, message in failures)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _recipe(results: Sequence[Mapping[str, Any]]) -> str:
    """What all trainings share, and where they ran."""
    if not results:
        return "No training is finished."
    one = results[0]
    configuration, patients = one["configuration"], one["n_patients"]
    training, grid = configuration["training"], configuration["preprocess"]
    # A training that was scored in several ways has as many results.
    trainings = {
        sha256_of_json({key: result[key] for key in ("configuration", "split_hash", "data_hash")}): result["training"]
        for result in results
    }
    hours = sum(training["seconds"] for training in trainings.values()) / 3600
    splits = sorted({result["split_hash"][:12] for result in results})
    commits = sorted({str(result["provenance"]["commit"])[:12] for result in results})
    machines = sorted({result["provenance"]["processor"] for result in results})
    torch = sorted({result["provenance"]["versions"]["torch"] for result in results})
    return (
        f"{configuration['model']['name']}, {grid['height']}x{grid['width']}, {training['epochs']} epochs of batches of"
        f" {training['batch_size']}, {configuration['optimizer']['name']} at"
        f" {configuration['optimizer']['learning_rate']:g}; patients of a split: {patients['train']} train,"
        f" {patients['validation']} validate, {patients['test']} test (splits {', '.join(splits)})."
        f" {len(trainings)} trainings, {hours:.1f} hours of training in all, on {'; '.join(machines)}; torch"
        f" {', '.join(torch)}; commit {', '.join(commits)}."
    )


def _reading(rows: Sequence[MethodRow], baseline: str) -> str:
    """How the tables are to be read."""
    tried = sorted({row.n_trials for row in rows if row.n_trials})
    if not tried:
        tuning = "No method here has a strength to tune."
    elif tried == [1]:
        tuning = "Methods with a strength ran at its default; none was tuned."
    elif len(tried) == 1:
        tuning = (
            f"Every method with a strength had it tuned in {tried[0]} trials, on each split's own validation patients."
        )
    else:
        tuning = "The number of strengths tried on validation patients stands beside each method."
    if len({row.n_places for row in rows}) > 1:
        tuning += (
            " **Methods have different numbers of trainings so far**, on different seeds and patients: read the paired"
            " differences, not the means."
        )
    return (
        "Figures are in points (hundredths), means over trainings of different seed and split, with 95 % intervals from"
        " a bootstrap over folds, test patients and seeds; fewer than five patients have none. They are taken on the"
        " network's own grid, at a"
        " threshold that validation patients chose for each network, so they compare methods; `wcr-med evaluate` scores"
        f" on the grid of the files. Differences are paired by training and patient; the baseline is {baseline}."
        f" {tuning}"
    )


def _scores(rows: Sequence[MethodRow], metric: str) -> str:
    rungs = _rungs(rows)
    header = ["method", "strength (tried)", "trainings", *(_rung_title(rung) for rung in rungs)]
    lines = [
        [row.label, _strength(row), str(row.n_places), *(_cell(row.scores, rung, metric) for rung in rungs)]
        for row in rows
    ]
    return _table(header, lines)


def _costs(rows: Sequence[MethodRow], part: str) -> str:
    rungs = [rung for rung in _rungs(rows) if rung[1]]
    if part == "to_baseline":
        rungs = [DENSE, *rungs]
    header = ["method", *(f"{_rung_title(rung)}, {metric}" for metric in METRICS for rung in rungs)]
    lines = [
        [row.label, *(_cell(getattr(row, part), rung, metric, sign="+") for metric in METRICS for rung in rungs)]
        for row in rows
        if part == "to_baseline" or not row.dense_only
    ]
    return _table(header, lines)


def _weights(rows: Sequence[MethodRow], baseline: str) -> str:
    sparsities = sorted({sparsity for row in rows for sparsity in row.n_emptied})
    header = [
        "method",
        f"seconds a slice, against {baseline}",
        "energy in the largest 5 %",
        "dense fp32, MB",
        *(f"layers emptied at {100 * sparsity:g} %" for sparsity in sparsities),
    ]
    lines = [
        [
            row.label,
            _plain(row.step_ratio, ".2f"),
            _plain(row.energy_top5, ".3f"),
            f"{row.bytes_fp32 / 1e6:.2f}",
            *(str(row.n_emptied.get(sparsity, "")) for sparsity in sparsities),
        ]
        for row in rows
    ]
    return _table(header, lines)


def _rungs(rows: Sequence[MethodRow]) -> list[Rung]:
    return sorted({rung for row in rows for rung in row.scores})


def _rung_title(rung: Rung) -> str:
    if rung == DENSE:
        return "dense"
    return f"{100 * rung[0]:g} %" + (" repaired" if rung[1] else "")


def _strength(row: MethodRow) -> str:
    return f"{row.strength} ({row.n_trials})" if row.strength else ""


def _cell(intervals: Mapping[Rung, Mapping[str, Interval]], rung: Rung, metric: str, sign: str = "") -> str:
    if rung not in intervals:
        return ""
    interval = intervals[rung][metric]
    if not math.isfinite(interval.value):
        return ""
    show: Callable[[float], str] = lambda share: format(100 * share, f"{sign}.1f")  # noqa: E731 - used thrice, here
    if not math.isfinite(interval.low):
        return f"{show(interval.value)} (no interval)"
    return f"{show(interval.value)} ({show(interval.low)} to {show(interval.high)})"


def _plain(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))
