"""The comparison as Markdown, CSV, JSON and figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wcr_med.files import write_json, write_text
from wcr_med.provenance import provenance
from wcr_med.report.comparison.figures import draw_curves, draw_survivors
from wcr_med.report.comparison.ladders import METRICS, Interval
from wcr_med.report.comparison.page import page
from wcr_med.report.comparison.rows import MethodRow, build_rows

SCHEMA_VERSION = 2

_INTERVALS = ("scores", "to_own_dense", "to_baseline", "to_baseline_alike")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `write_comparison` wrote.

    Attributes:
        rows: methods with at least one final training, in the order asked for.
        n_final: final trainings of all of them.
    """

    rows: tuple[MethodRow, ...]
    n_final: int


def write_comparison(
    out: Path,
    results: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    *,
    baseline: str,
    failures: Sequence[tuple[str, str]] = (),
    command: str | None = None,
) -> Comparison:
    """Write compare.md, compare.csv, compare.json and the figures into a folder.

    Args:
        out: made if missing.
        results: documents of result files.
        methods: names, in the order of the rows; those without a final training are named as missing.
        baseline: the method that the others are set against.
        failures: cells that failed, and why.
        command: what was typed.
    """
    rows = build_rows(results, methods, baseline)
    missing = [name for name in methods if name not in {row.method for row in rows}]
    # Before the page that shows them.
    figures = [f"compare_{metric}" for metric in METRICS] if rows else []
    for metric, name in zip(METRICS, figures, strict=False):
        draw_curves(rows, metric, out / name)
    if draw_survivors(rows, out / "compare_survivors"):
        figures.append("compare_survivors")
    write_text(
        out / "compare.md",
        page(rows, results, missing=missing, failures=failures, baseline=baseline, command=command, figures=figures),
    )
    frame = pd.DataFrame(_flat_rows(rows))
    write_text(out / "compare.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_json(
        out / "compare.json",
        {
            "schema_version": SCHEMA_VERSION,
            "baseline": baseline,
            "rows": [_to_dict(row) for row in rows],
            "missing": missing,
            "failures": [{"cell": cell, "message": message} for cell, message in failures],
            "split_hashes": sorted({result["split_hash"] for result in results}),
            "provenance": provenance(seed=None),
        },
    )
    return Comparison(rows=tuple(rows), n_final=sum(row.n_places for row in rows))


def _flat_rows(rows: Sequence[MethodRow]) -> list[dict[str, Any]]:
    """A line a method, rung and metric."""
    return [
        {
            "method": row.method,
            "label": row.label,
            "strength_field": row.tuned_field,
            "strength": row.strength,
            "n_trials": row.n_trials,
            "n_trainings": row.n_places,
            "sparsity": rung[0],
            "repaired": rung[1],
            "metric": metric,
            **_columns("", scores[metric]),
            **_columns("to_own_dense_", row.to_own_dense[rung][metric]),
            **_columns("to_baseline_dense_", row.to_baseline[rung][metric]),
            **_columns("to_baseline_alike_", row.to_baseline_alike[rung][metric]),
            "step_ratio": row.step_ratio,
            "energy_top5": row.energy_top5,
            "bytes_fp32": row.bytes_fp32,
        }
        for row in rows
        for rung, scores in row.scores.items()
        for metric in METRICS
    ]


def _columns(prefix: str, interval: Interval) -> dict[str, float]:
    return {f"{prefix}value": interval.value, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


def _to_dict(row: MethodRow) -> dict[str, Any]:
    document = {name: value for name, value in vars(row).items() if name not in (*_INTERVALS, "kept", "n_emptied")}
    document["step_ratio"] = _null(row.step_ratio)
    document["rungs"] = [
        {
            "sparsity": rung[0],
            "repaired": rung[1],
            **{
                part: {metric: {k: _null(v) for k, v in asdict(intervals[rung][metric]).items()} for metric in METRICS}
                for part, intervals in ((name, getattr(row, name)) for name in _INTERVALS)
            },
        }
        for rung in row.scores
    ]
    document["kept"] = [
        {"sparsity": sparsity, "n_emptied": row.n_emptied[sparsity], "kernels": dict(kernels)}
        for sparsity, kernels in row.kept.items()
    ]
    return document


def _null(value: float) -> float | None:
    return value if math.isfinite(value) else None
