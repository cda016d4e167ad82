"""What a regularizer costs per training step of the Buda U-Net.

    python benchmarks/regularizer_cost.py                  # 32 features, 256x256, batch 8: minutes, about 8 GB
    python benchmarks/regularizer_cost.py --size 128 --features 8 --repeats 9

Every round runs one step of each variant, in an order that rotates, so that a machine that warms up or is shared slows
all of them alike. A step is forward, loss, backward, the term, and SGD. Two figures a variant: the median of its whole
step against the step without a term in the same round, and the time inside the term alone as a share of that step. The
second is the sharper one, since whole steps vary by more than a cheap term costs.

On a busy machine give --threads 1: threads that wait for a neighbour who holds their core slow the many short
operations of a term far more than the few long ones of a step. The term costs the same at any size and batch, so its
share at a smaller batch bounds the share at a larger one.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wcr_med.config import LossConfig, ModelConfig, OptimizerConfig, RegularizerConfig, TrainingConfig
from wcr_med.files import write_json
from wcr_med.losses import build_loss
from wcr_med.models import build_model, prunable_parameters
from wcr_med.optimizers import build_optimizer
from wcr_med.provenance import processor_name, provenance
from wcr_med.regularizers import Regularizer, build_regularizer
from wcr_med.training.processor import choose_processor, processor_settings

STRENGTH = 1e-8  # small, so that every variant trains the same weights; the cost does not depend on it
TARGET = 0.03  # of a step: what the fast form of WCR may cost

Term = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant.

    Attributes:
        name: regularizer and form.
        step_s: median seconds of a whole step.
        step_ratio: median over rounds of its step against the step without a term.
        term_s: median seconds inside the term.
        term_share: median over rounds of that, as a share of the step without a term.
    """

    name: str
    step_s: float
    step_ratio: float
    term_s: float
    term_share: float


def main() -> None:
    """Parse the options, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of an image")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds; one more is run first")
    parser.add_argument("--threads", type=int, default=0, help="0: all available cores")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="bf16 has the faster step"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
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
    model = build_model(ModelConfig(features=options.features), seed=0)
    processor.place_model(model)
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-6))
    loss_of = build_loss(LossConfig())
    torch.manual_seed(0)
    image = processor.place(torch.randn(options.batch, 3, options.size, options.size))
    target = processor.place((torch.rand(options.batch, 1, options.size, options.size) > 0.9).float())
    variants = _variants(model)

    def step(term: Term) -> tuple[float, float]:
        started = _now(options.device)
        optimizer.zero_grad(set_to_none=True)
        with processor.autocast():
            logits = model(image)
        torch.autograd.backward(loss_of(logits.float(), target))
        before = _now(options.device)
        term()
        after = _now(options.device)
        optimizer.step()
        return _now(options.device) - started, after - before

    rounds: list[dict[str, tuple[float, float]]] = []
    names = list(variants)
    for number in range(options.repeats + 1):
        order = names[number % len(names) :] + names[: number % len(names)]
        rounds.append({name: step(variants[name]) for name in order})
    return [_row(name, rounds[1:]) for name in names]  # the first round warms up


def report(rows: list[Row], options: argparse.Namespace) -> None:
    """Print the table and the verdict; write JSON where asked."""
    print(f"{'variant':<24}{'step, s':>10}{'step ratio':>12}{'term, ms':>10}{'term share':>12}")
    for row in rows:
        print(
            f"{row.name:<24}{row.step_s:>10.3f}{row.step_ratio:>12.3f}{1e3 * row.term_s:>10.1f}{row.term_share:>12.2%}"
        )
    share = next(row.term_share for row in rows if row.name == "wcr, fast")
    print(f"wcr, fast: {share:.2%} of a step; the target is at most {TARGET:.0%}")
    if options.json is not None:
        document: dict[str, Any] = {
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "rows": [vars(row) for row in rows],
            "provenance": provenance(seed=0),
        }
        write_json(options.json, document)


def _variants(model: nn.Module) -> dict[str, Term]:
    kernels = prunable_parameters(model)
    variants: dict[str, Term] = {"none": lambda: None}
    for name in ("wcr", "l1", "hoyer_square"):
        regularizer = build_regularizer(RegularizerConfig.model_validate({"name": name}))
        assert regularizer is not None
        variants[f"{name}, reference"] = _reference(regularizer, kernels)
        variants[f"{name}, fast"] = _fast(regularizer, kernels)
    return variants


def _reference(regularizer: Regularizer, kernels: dict[str, nn.Parameter]) -> Term:
    def term() -> None:
        torch.autograd.backward(STRENGTH * regularizer.penalty(kernels))

    return term


def _fast(regularizer: Regularizer, kernels: dict[str, nn.Parameter]) -> Term:
    return lambda: regularizer.add_gradient_(kernels, STRENGTH)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _row(name: str, rounds: list[dict[str, tuple[float, float]]]) -> Row:
    return Row(
        name=name,
        step_s=statistics.median(times[name][0] for times in rounds),
        step_ratio=statistics.median(times[name][0] / times["none"][0] for times in rounds),
        term_s=statistics.median(times[name][1] for times in rounds),
        term_share=statistics.median(times[name][1] / times["none"][0] for times in rounds),
    )


if __name__ == "__main__":
    main()
