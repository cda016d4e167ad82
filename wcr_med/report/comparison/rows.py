"""Result files -> one row a method."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wcr_med.report.comparison.ladders import (
    METRICS,
    Interval,
    Ladder,
    Metric,
    Place,
    difference_with_interval,
    mean_with_interval,
)

Rung = tuple[float, bool]
"""(sparsity, repaired); the dense network is (0.0, False)."""

DENSE: Rung = (0.0, False)


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method of the table.

    Attributes:
        method: its name; `label` for readers.
        values: of its strength, each that a final training has, rising; empty where it has none.
        tuned_field: the field of its strength; `None` where it has none.
        n_trials: strengths that were tried on validation patients; 1: its default, untuned; 0: it has none.
        dense_only: a dense rival.
        n_places: final trainings that are scored.
        scores: by rung, then by metric.
        to_own_dense: by rung, then by metric: minus the method's own dense network, on the same patients.
        to_baseline: by rung, then by metric: minus the baseline's dense network, paired by training.
        to_baseline_alike: the same, minus the baseline's network at that rung; NaN where it has none.
        step_ratio: median seconds a slice of training against the baseline's, paired by place; NaN without one.
        energy_top5: share of the squares in the largest 5 % of the dense network's weights, mean over places.
        bytes_fp32: of the dense network.
        kept: by sparsity, then by kernel: share of weights left, mean over places.
        n_emptied: by sparsity: kernels without a weight left, the most of any place.
    """

    method: str
    label: str
    values: tuple[float, ...]
    tuned_field: str | None
    n_trials: int
    dense_only: bool
    n_places: int
    scores: Mapping[Rung, Mapping[str, Interval]]
    to_own_dense: Mapping[Rung, Mapping[str, Interval]]
    to_baseline: Mapping[Rung, Mapping[str, Interval]]
    to_baseline_alike: Mapping[Rung, Mapping[str, Interval]]
    step_ratio: float
    energy_top5: float
    bytes_fp32: int
    kept: Mapping[float, Mapping[str, float]]
    n_emptied: Mapping[float, int]

    @property
    def strength(self) -> str:
        """The values as text; empty for a method without a strength."""
        return ", ".join(f"{value:g}" for value in self.values)


def build_rows(results: Sequence[Mapping[str, Any]], methods: Sequence[str], baseline: str) -> list[MethodRow]:
    """One row for each of `methods` that has a final training, in that order."""
    finals: dict[str, dict[Place, tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    tried: dict[str, set[float | None]] = {}
    for result in results:
        for cell in result["cells"]:
            tried.setdefault(cell["method"], set()).add(cell["value"])
            if cell["phase"] == "final":
                finals.setdefault(cell["method"], {})[(cell["seed"], cell["fold"])] = (cell, result)
    against = {place: result for place, (_, result) in finals.get(baseline, {}).items()}
    return [_row(name, finals[name], len(tried[name] - {None}), against) for name in methods if name in finals]


def _row(
    name: str,
    finals: Mapping[Place, tuple[Mapping[str, Any], Mapping[str, Any]]],
    n_trials: int,
    against: Mapping[Place, Mapping[str, Any]],
) -> MethodRow:
    cell, one = next(iter(finals.values()))
    results = {place: result for place, (_, result) in finals.items()}
    rungs = [(rung["sparsity"], rung["repaired"]) for rung in one["rungs"]]
    ladders = {rung: _ladder(results, rung) for rung in rungs}
    rivals = {rung: _ladder(against, rung) for rung in {DENSE, *rungs}}

    def each(score: Callable[[Rung, Metric], Interval]) -> dict[Rung, dict[str, Interval]]:
        return {rung: {metric: score(rung, metric) for metric in METRICS} for rung in rungs}

    def minus(other_of: Callable[[Rung], Ladder]) -> dict[Rung, dict[str, Interval]]:
        return each(lambda rung, metric: difference_with_interval(ladders[rung], other_of(rung), metric))

    ratios = [
        _seconds_a_slice(result) / _seconds_a_slice(against[place])
        for place, result in results.items()
        if place in against
    ]
    return MethodRow(
        method=name,
        label=cell["label"],
        values=tuple(sorted({own["value"] for own, _ in finals.values() if own["value"] is not None})),
        tuned_field=cell["tuned_field"],
        n_trials=n_trials,
        dense_only=cell["dense_only"],
        n_places=len(results),
        scores=each(lambda rung, metric: mean_with_interval(ladders[rung], metric)),
        to_own_dense=minus(lambda _rung: ladders[DENSE]),
        to_baseline=minus(lambda _rung: rivals[DENSE]),
        to_baseline_alike=minus(lambda rung: rivals[rung]),
        step_ratio=statistics.median(ratios) if ratios else math.nan,
        energy_top5=statistics.mean(result["energy_top5"] for result in results.values()),
        bytes_fp32=one["bytes_fp32"],
        kept=_kept(list(results.values())),
        n_emptied=_n_emptied(list(results.values())),
    )


def _ladder(results: Mapping[Place, Mapping[str, Any]], rung: Rung) -> Ladder:
    counts = {}
    for place, result in results.items():
        for entry in result["rungs"]:
            if (entry["sparsity"], entry["repaired"]) == rung and entry["patients"] is not None:
                counts[place] = {patient: tuple(triple) for patient, triple in entry["patients"].items()}
    return Ladder(counts=counts)


def _n_emptied(results: Sequence[Mapping[str, Any]]) -> dict[float, int]:
    emptied: dict[float, int] = {}
    for rung in (rung for result in results for rung in result["rungs"]):
        if rung["sparsity"]:
            n_emptied = sum(share == 0 for share in rung["kept"].values())
            emptied[rung["sparsity"]] = max(n_emptied, emptied.get(rung["sparsity"], 0))
    return emptied


def _kept(results: Sequence[Mapping[str, Any]]) -> dict[float, dict[str, float]]:
    kept: dict[float, dict[str, list[float]]] = {}
    for result in results:
        for rung in result["rungs"]:
            if rung["sparsity"] and not rung["repaired"]:
                for kernel, share in rung["kept"].items():
                    kept.setdefault(rung["sparsity"], {}).setdefault(kernel, []).append(share)
    return {
        sparsity: {kernel: statistics.mean(shares) for kernel, shares in kernels.items()}
        for sparsity, kernels in kept.items()
    }


def _seconds_a_slice(result: Mapping[str, Any]) -> float:
    return 1 / float(statistics.median(result["training"]["images_per_second"]))
