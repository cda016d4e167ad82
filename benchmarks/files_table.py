"""Size, memory, load time, latency and Dice of every exported file of a run. Writes the table into docs/inference.md.

    python benchmarks/files_table.py RUN --docs docs/inference.md

For the dense network and every pruned one of the run, the portable, accelerated and INT8 files are exported where
they are missing, scored on the test patients, each by itself, and timed in turn in one process. RUN is written to as
`wcr-med export` and `wcr-med evaluate` would; its configuration stays.
"""

import argparse
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from wcr_med import native
from wcr_med.data.index import load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.export.accelerated import timing_sample
from wcr_med.export.sessions import open_session
from wcr_med.files import write_text
from wcr_med.provenance import processor_name
from wcr_med.runtime.peak_memory import measure_peak_memory
from wcr_med.stages.deployment import exported_files
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage, quantised_path
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import DENSE, Workspace, open_workspace
from wcr_med.timing import SpeedRatio, speed_ratio, time_in_turn

BEGIN, END = "<!-- made by benchmarks/files_table.py -->", "<!-- end of the files -->"
THREADS = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file.

    Attributes:
        name: of the file, without `.onnx`.
        size_bytes: of it.
        peak_bytes: of a process that opens and runs it, interpreter included; `None` where the system does not tell.
        load_ms: median time to open it.
        p50_ms: by number of threads: median latency of a slice.
        speed: by number of threads: how many times as fast as the first file, from runs that took turns.
        dice_patient, f1_pooled: on the test patients, through the runtime.
    """

    name: str
    size_bytes: int
    peak_bytes: int | None
    load_ms: float
    p50_ms: Mapping[int, float]
    speed: Mapping[int, SpeedRatio]
    dice_patient: float
    f1_pooled: float


@dataclass(frozen=True, kw_only=True)
class Files:
    """Exported files by name, and why others are not there."""

    paths: dict[str, Path] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def network_names(workspace: Workspace) -> list[str]:
    """The dense network and every pruned one that was made, by sparsity."""
    found = {path.stem for path in workspace.model_path(DENSE).parent.glob("pruned-*.safetensors")}
    pruned = [name for name in found if not name.endswith(".mask")]
    return [DENSE, *sorted(pruned, key=lambda name: float(name.removeprefix("pruned-")))]


def export_all(workspace: Workspace, names: Sequence[str]) -> Files:
    """Export what is not there yet. An INT8 file that the gate refuses is listed with the reason."""
    files = Files()
    for name in names:
        export_stage(workspace, name)
        files.paths.update({file.path.stem: file.path for file in exported_files(workspace, name)})
        quantised = quantised_path(workspace.onnx_path(name))
        try:
            export_stage(workspace, name, quantised=True)
            files.paths[quantised.stem] = quantised
        except UserError as error:
            files.absent[quantised.stem] = str(error)
    return files


def score(workspace: Workspace, name: str) -> tuple[float, float]:
    """`dice_patient` and `f1_pooled` of a file by itself, on the test patients."""
    evaluate_stage(workspace, name, onnx=True)
    result = EvaluationResult.load(workspace.evaluation_folder(f"{name}-onnx") / "metrics.json")
    return result.value("dice_patient"), result.value("f1_pooled")


def measure(
    files: Mapping[str, Path],
    sample: Mapping[str, Any],
    scores: Callable[[str], tuple[float, float]],
    *,
    runs: int,
    loads: int = 5,
) -> list[Row]:
    """Time all files in turn: opening them, then a slice with each number of threads."""
    opening = {name: partial(open_session, path, threads=1) for name, path in files.items()}
    load_ms = {name: statistics.median(times) for name, times in time_in_turn(opening, loads).items()}
    p50_ms: dict[str, dict[int, float]] = {name: {} for name in files}
    speed: dict[str, dict[int, SpeedRatio]] = {name: {} for name in files}
    first = next(iter(files))
    for threads in THREADS:
        sessions = {name: open_session(path, threads=threads) for name, path in files.items()}
        runnable = {name: partial(session.run, None, sample) for name, session in sessions.items()}
        found = time_in_turn(runnable, runs)
        for name, times in found.items():
            p50_ms[name][threads] = statistics.median(times)
            speed[name][threads] = speed_ratio(found[first], times)
        del sessions, runnable  # their threads end
    rows = []
    for name, path in files.items():
        dice_patient, f1_pooled = scores(name)
        rows.append(
            Row(
                name=name,
                size_bytes=path.stat().st_size,
                peak_bytes=measure_peak_memory(path, sample),
                load_ms=load_ms[name],
                p50_ms=p50_ms[name],
                speed=speed[name],
                dice_patient=dice_patient,
                f1_pooled=f1_pooled,
            )
        )
    return rows


def table(rows: Sequence[Row], absent: Mapping[str, str]) -> str:
    """Rows as Markdown; speeds are relative to the first."""
    columns = [column for n in THREADS for column in (f"ms, {n} thread{'s' * (n > 1)}", "times as fast as dense")]
    heads = ["file", "MB", "peak MB", "load ms", *columns, "`dice_patient`", "`f1_pooled`"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for row in rows:
        speeds = [text for n in THREADS for text in (f"{row.p50_ms[n]:.1f}", row.speed[n].cell)]
        peak = "not known" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}"
        cells = [row.name, f"{row.size_bytes / 1e6:.2f}", peak, f"{row.load_ms:.0f}", *speeds]
        cells += [f"{row.dice_patient:.4f}", f"{row.f1_pooled:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\nNot there: {name}: {reason}." for name, reason in absent.items()]
    return "\n".join(lines)


def placed(page: str, text: str) -> str:
    """The page with the text between its markers.

    Raises:
        SystemExit: it lacks the markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def describe(workspace: Workspace, *, n_patients: int, runs: int) -> str:
    """What stands above the table."""
    grid, model = workspace.config.preprocess, workspace.config.model
    return (
        f"{model.name}, {model.features} features, one slice of {grid.height}x{grid.width} a run; {n_patients} test"
        f" patients; {processor_name()}; medians of {runs} interleaved runs. Of a ratio the"
        " median over turns, with its 5th and 95th percentile. Peak: of a process that opens and runs the"
        " file, interpreter included."
    )


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with trained and pruned networks")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each file")
    parser.add_argument("--docs", type=Path, help="page with the markers to write between, too")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    accelerate = f"export.accelerate={str(native.is_available()).lower()}"
    workspace = open_workspace(arguments.run, config_path=None, assignments=[accelerate])
    page = arguments.docs
    if page:
        placed(page.read_text(encoding="utf-8"), "")  # fails now rather than after the work
    files = export_all(workspace, network_names(workspace))
    patients = open_patients(workspace)
    sample = timing_sample(load_volume(patients.of(patients.split.test)[0]), workspace.settings)
    rows = measure(files.paths, sample, partial(score, workspace), runs=arguments.runs)
    text = "\n\n".join(
        (describe(workspace, n_patients=len(patients.split.test), runs=arguments.runs), table(rows, files.absent))
    )
    print(text)
    if page:
        write_text(page, placed(page.read_text(encoding="utf-8"), text))


if __name__ == "__main__":
    main()
