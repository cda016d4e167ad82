"""What each regularizer and each robust optimizer costs per training step of the Buda U-Net.

    python benchmarks/regularizer_cost.py                  # 32 features, 256x256, batch 8: minutes, about 8 GB
    python benchmarks/regularizer_cost.py --size 128 --features 16 --repeats 9 --only wcr wcr_quantile

Every round runs one step of each variant, in an order that rotates, so that a machine that warms up or is shared slows
all of them alike. A step is that of training: forward, loss, backward, clipping, the regularizer, SGD. Two figures a
variant: the median of its whole step against the plain step in the same round, and the mean time inside the regularizer
as a share of that step. The second is the sharper one, since whole steps vary by more than a cheap term costs; robust
optimizers have the first alone. Quantiles are looked at every fourth step: take a multiple of four for --repeats.

On a busy machine give --threads 1: threads that wait for a neighbour who holds their core slow the many short
operations of a term far more than the few long ones of a step. The term costs the same at any size and batch, so its
share at a smaller batch bounds the share at a larger one.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wcr_med.config import Config, TrainingConfig, parse_config
from wcr_med.files import write_json
from wcr_med.models import build_model
from wcr_med.provenance import processor_name, provenance
from wcr_med.regularizers import LossTerm, Moment, Regularizer, build_regularizer, regularizer_names
from wcr_med.timing import SpeedRatio, ratio_of
from wcr_med.training.processor import Processor, choose_processor, processor_settings
from wcr_med.training.step import build_step

STRENGTH = 1e-8  # small, so that every variant keeps about the same weights; the cost does not depend on it
TARGET = 0.03  # of a step: what the fast form of WCR may cost

ROBUST = ("sam", "cram_plus", "s2sam", "powerpropagation")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant.

    Attributes:
        name: regularizer and form, or robust optimizer.
        step_s: median seconds of a whole step.
        step_ratio: over rounds, its step against the plain step, with its range.
        term_s: mean seconds inside the regularizer.
        term_share: that as a share of the median plain step.
    """

    name: str
    step_s: float
    step_ratio: SpeedRatio
    term_s: float
    term_share: float


def main() -> None:
    """Parse the options, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of an image")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--repeats", type=int, default=8, help="measured rounds; one more is run first")
    parser.add_argument("--threads", type=int, default=0, help="0: all available cores")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="bf16 has the faster step"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="*", default=[], help="these methods alone, beside the plain step")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with processor_settings(options.threads):
        rows = measure(options)
    report(rows, options)


def measure(options: argparse.Namespace) -> list[Row]:
    """Run the rounds and take the medians."""
    processor = choose_processor(
        TrainingConfig(epochs=1, batch_size=options.batch, device=options.device, precision=options.precision)
    )
    shape = f"{options.size}x{options.size}, batch {options.batch}"
    print(f"{processor_name()}; {processor}; features {options.features}, {shape}")
    torch.manual_seed(0)
    images = torch.randn(options.batch, 3, options.size, options.size)
    masks = (torch.rand(options.batch, 1, options.size, options.size) > 0.9).float()
    variants = _variants(options, processor)
    names = list(variants)
    rounds: list[dict[str, tuple[float, float]]] = []
    for number in range(options.repeats + 1):
        order = names[number % len(names) :] + names[: number % len(names)]
        rounds.append({name: variants[name](images, masks, number) for name in order})
    return [_row(name, rounds[1:]) for name in names]  # the first round warms up


def report(rows: list[Row], options: argparse.Namespace) -> None:
    """Print the table and the verdict; write JSON where asked."""
    print(f"{'variant':<24}{'step, s':>10}{'step ratio':>24}{'term, ms':>10}{'term share':>12}")
    for row in rows:
        print(
            f"{row.name:<24}{row.step_s:>10.3f}{row.step_ratio.cell:>24}"
            f"{1e3 * row.term_s:>10.1f}{row.term_share:>12.2%}"
        )
    share = next((row.term_share for row in rows if row.name == "wcr, fast"), None)
    if share is not None:
        print(f"wcr, fast: {share:.2%} of a step; the target is at most {TARGET:.0%}")
    if options.json is not None:
        document: dict[str, Any] = {
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "rows": [asdict(row) for row in rows],
            "provenance": provenance(seed=0),
        }
        write_json(options.json, document)


class _Timed(Regularizer):
    """A regularizer and the seconds spent in it."""

    name, label, default_strength, strength_range = "timed", "timed", 1.0, (1.0, 1.0)

    def __init__(self, inner: Regularizer, device: str, *, reference: bool) -> None:
        self.inner, self.device, self.reference, self.seconds = inner, device, reference, 0.0

    def term(self, weights: Tensor) -> Tensor:
        """The inner one's."""
        return self.inner.term(weights)

    def add_gradient_(self, parameters: Mapping[str, Tensor], strength: float) -> None:
        """The inner one's, or autograd of its reference form."""
        started = _now(self.device)
        if self.reference:
            torch.autograd.backward(strength * self.inner.penalty(parameters))
        else:
            self.inner.add_gradient_(parameters, strength)
        self.seconds += _now(self.device) - started

    def step_(self, parameters: Mapping[str, Tensor], strength: float, moment: Moment) -> None:
        """The inner one's."""
        started = _now(self.device)
        self.inner.step_(parameters, strength, moment)
        self.seconds += _now(self.device) - started


Variant = Callable[[Tensor, Tensor, int], tuple[float, float]]
"""(images, masks, round) -> seconds of the step, seconds inside the regularizer."""


def _variants(options: argparse.Namespace, processor: Processor) -> dict[str, Variant]:
    def add(name: str, regularizer: str = "none", *, reference: bool = False, **optimizer: Any) -> None:
        strength = None if regularizer in ("none", "gradual_magnitude") else STRENGTH
        section = {"name": regularizer, "strength": strength, "schedule": {"start": 0.0, "ramp": 0.0}}
        variants[name] = _variant(_config(options, section, optimizer), processor, options.device, reference=reference)

    variants: dict[str, Variant] = {}
    add("none")
    for name in regularizer_names():
        if options.only and name not in options.only:
            continue
        if isinstance(build_regularizer(_config(options, {"name": name}, {}).regularizer), LossTerm):
            add(f"{name}, reference", name, reference=True)
            add(f"{name}, fast", name)
        else:
            add(name, name)
    for name in ROBUST:
        if not options.only or name in options.only:
            add(name, **({"powerpropagation": 2.0} if name == "powerpropagation" else {"robust": name}))
    return variants


def _config(options: argparse.Namespace, regularizer: dict[str, Any], optimizer: dict[str, Any]) -> Config:
    document = {
        "data": {"root": "none"},
        "split": {"validation_patients": 1, "test_patients": 1},
        "model": {"features": options.features},
        "regularizer": regularizer,
        "optimizer": {"learning_rate": 1e-6, **optimizer},
        "training": {"epochs": 1},
    }
    return parse_config(document, source="the benchmark")


def _variant(config: Config, processor: Processor, device: str, *, reference: bool) -> Variant:
    model = build_model(config.model, seed=0).train()
    processor.place_model(model)
    inner = build_regularizer(config.regularizer)
    timed = None if inner is None else _Timed(inner, device, reference=reference)
    take_step = build_step(model, config, processor, timed, n_steps=1_000_000)

    def variant(images: Tensor, masks: Tensor, number: int) -> tuple[float, float]:
        before, started = 0.0 if timed is None else timed.seconds, _now(device)
        take_step(images, masks, step=number, rate=1e-6)
        ended = _now(device)
        return ended - started, 0.0 if timed is None else timed.seconds - before

    return variant


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _row(name: str, rounds: list[dict[str, tuple[float, float]]]) -> Row:
    term_s = statistics.mean(times[name][1] for times in rounds)
    return Row(
        name=name,
        step_s=statistics.median(times[name][0] for times in rounds),
        step_ratio=ratio_of([times[name][0] / times["none"][0] for times in rounds]),
        term_s=term_s,
        term_share=term_s / statistics.median(times["none"][0] for times in rounds),
    )


if __name__ == "__main__":
    main()
