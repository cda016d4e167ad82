"""How near the training loop comes to a pure forward-backward-step loop, and what each setting gives.

    python benchmarks/train_step.py --config configs/lgg_small.yaml [--data kaggle_3m] [--set model.features=32]
    python benchmarks/train_step.py --config configs/lgg.yaml --data kaggle_3m                         # on a GPU
    python benchmarks/train_step.py --only pure held real --profile 10                 # and a table of torch.profiler

Every loop is a process of its own, since thread settings, tiny numbers and peak memory belong to a process. They run in
turn, a few steps each, in an order that rotates from round to round, while the others wait: a busy machine slows all
alike. Not all are there at once, which would take much memory: --together of them, and those that they are compared
with. A row's speed is the median over rounds of its slices a second against those of the row it is compared with, in
the same round. Without --data the slices come from a phantom. Validation, states and logs are not part of either loop.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import train_step_worker as worker
from train_step_costs import costs, profile

from wcr_med.config import Config, load_config
from wcr_med.data.phantom import make_phantom
from wcr_med.errors import UserError
from wcr_med.files import write_json
from wcr_med.provenance import processor_name, provenance

TARGET = 0.95  # of the pure loop: what the real one shall reach


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row.

    Attributes:
        name: for the table and --only.
        loop: of `train_step_worker.Request`.
        against: the name of the row it is compared with.
        assignments: on top of the command's.
        switches: of `train_step_worker.Request`.
        environment: of its process.
    """

    name: str
    loop: worker.LoopName
    against: str = "held"
    assignments: tuple[str, ...] = ()
    switches: tuple[worker.Switch, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = (
    Variant(name="pure", loop="pure", against="pure"),
    Variant(name="held", loop="held", against="pure"),
    Variant(name="real", loop="real", against="pure"),
    Variant(name="real, slices on the device", loop="real", against="pure", assignments=("training.slices=device",)),
    Variant(name="real, one loader process", loop="real", against="pure", assignments=("training.loader_workers=1",)),
    Variant(name="fp32", loop="held", assignments=("training.precision=fp32",)),
    Variant(name="bf16", loop="held", assignments=("training.precision=bf16",)),
    Variant(name="row-major", loop="held", switches=("row_major",)),
    Variant(name="fp32, row-major", loop="held", assignments=("training.precision=fp32",), switches=("row_major",)),
    Variant(name="compiled", loop="held", assignments=("training.compile=true",)),
    Variant(name="one thread", loop="held", assignments=("training.threads=1",)),
    Variant(name="threads that spin", loop="held", environment={"GOMP_SPINCOUNT": "300000"}),  # GNU's default
    Variant(name="optimizer not fused", loop="held", switches=("unfused",)),
    Variant(name="freed memory given back", loop="held", switches=("memory_given_back",)),
    Variant(name="faded weights", loop="held", switches=("faded",)),
    Variant(name="faded weights, denormal", loop="held", against="faded weights", switches=("faded", "denormals")),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the variant; `against` the row it is compared with.
        images_per_s: median over rounds.
        ratio: median over rounds of its images a second / those of `against`.
        lowest, highest: of the ratio over rounds.
        peak_mb: of the training process on a CPU, without the loader's; of torch's tensors on a GPU.
        processor: device, precision and threads.
    """

    name: str
    against: str
    images_per_s: float
    ratio: float
    lowest: float
    highest: float
    peak_mb: float
    processor: str


class Loop:
    """A process that takes steps on request."""

    def __init__(self, variant: Variant, request: worker.Request) -> None:
        self.variant = variant
        command = (sys.executable, worker.__file__, json.dumps(asdict(request)))
        environment = os.environ | variant.environment
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line, wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.variant.name}: its process ended without an answer")
        return dict(json.loads(answer))

    def rate(self, n_steps: int) -> float:
        """Slices a second over that many steps."""
        self.ask(f"run {worker.LEAD_IN}")
        answer = self.ask(f"run {n_steps}")
        return float(answer["slices"] / answer["seconds"])

    def stop(self) -> None:
        """End the process, and with it those of its loader."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def groups(names: Sequence[str], *, together: int) -> list[list[Variant]]:
    """The variants of these names in groups that run in turn, each with the rows that it is compared with."""
    by_name = {variant.name: variant for variant in VARIANTS}
    wanted = [variant for variant in VARIANTS if variant.name in names]
    found = []
    for start in range(0, len(wanted), together):
        group = {variant.name for variant in wanted[start : start + together]}
        while more := {by_name[name].against for name in group} - group:
            group |= more
        found.append([variant for variant in VARIANTS if variant.name in group])
    return found


def measure(loops: Sequence[Loop], *, rounds: int, n_steps: int) -> list[Row]:
    """Run all loops in turn; one round more comes first, in which they warm up."""
    names = [loop.variant.name for loop in loops]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for loop in (*loops[number % len(loops) :], *loops[: number % len(loops)]):
            rates[loop.variant.name].append(loop.rate(n_steps))
    rows = []
    for loop in loops:
        own, against = rates[loop.variant.name][1:], loop.variant.against
        ratios = [one / other for one, other in zip(own, rates[against][1:], strict=True)]
        rows.append(
            Row(
                name=loop.variant.name,
                against=against,
                images_per_s=statistics.median(own),
                ratio=statistics.median(ratios),
                lowest=min(ratios),
                highest=max(ratios),
                peak_mb=loop.ask("memory")["peak_mb"],
                processor=loop.ask("about")["processor"],
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown, and whether the target is met."""
    lines = [
        "| loop | images/s | speed | against | lowest to highest | peak MB | on |",
        "|---|--:|--:|---|--:|--:|---|",
    ]
    lines += [
        f"| {row.name} | {row.images_per_s:.1f} | {row.ratio:.3f} | {row.against} | {row.lowest:.3f} to"
        f" {row.highest:.3f} | {row.peak_mb:.0f} | {row.processor} |"
        for row in rows
    ]
    real = next((row for row in rows if row.name == "real"), None)
    if real is not None:
        lines.append(f"\nThe real loop reaches {real.ratio:.3f} of the pure one; the target is {TARGET}.")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/lgg_small.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="assignments")
    parser.add_argument("--data", type=Path, help="a kaggle_3m folder; a phantom of 12 patients by default")
    parser.add_argument("--only", nargs="+", choices=[variant.name for variant in VARIANTS], help="these rows alone")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="steps of each loop in a round")
    parser.add_argument("--together", type=int, default=5, help="rows that are measured in turn at a time")
    parser.add_argument("--profile", type=int, default=0, metavar="STEPS", help="also profile so many real steps")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    try:
        config = load_config(options.config, options.assignments)
    except UserError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        _report(options, config, Path(folder))


def _report(options: argparse.Namespace, config: Config, folder: Path) -> None:
    data = options.data or make_phantom(folder / "kaggle_3m", n_patients=12, seed=0)
    started = time.perf_counter()
    cache = worker.open_cache(config, data, folder / "cache")
    seconds = time.perf_counter() - started
    grid = config.preprocess
    print(f"{processor_name()}; torch {torch.__version__}; {config.model.name}, {config.model.features} features,")
    print(f"{grid.height}x{grid.width}, batch {config.training.batch_size}, {options.rounds} rounds of {options.steps}")
    print(
        f"{len(cache)} slices prepared, {len(cache) / seconds:.0f} a second, {1e3 * seconds / len(cache):.2f} ms each"
    )
    print(costs(config, cache, rounds=options.rounds), flush=True)

    def request(variant: Variant) -> worker.Request:
        return worker.Request(
            loop=variant.loop,
            config=str(options.config),
            assignments=[*options.assignments, *variant.assignments],
            data=str(data),
            cache=str(folder / "cache"),
            switches=list(variant.switches),
        )

    rows: dict[str, Row] = {}
    for group in groups(options.only or [variant.name for variant in VARIANTS], together=options.together):
        loops = [Loop(variant, request(variant)) for variant in group]
        try:
            found = measure(loops, rounds=options.rounds, n_steps=options.steps)
        finally:
            for loop in loops:
                loop.stop()
        rows = {row.name: row for row in found} | rows
    ordered = [rows[variant.name] for variant in VARIANTS if variant.name in rows]
    print(table(ordered), flush=True)
    if options.profile:
        print(profile(request(next(variant for variant in VARIANTS if variant.name == "real")), options.profile))
    if options.json is not None:
        document = {"rows": [asdict(row) for row in ordered], "provenance": provenance(seed=config.seed)}
        write_json(options.json, document)


if __name__ == "__main__":
    main()
