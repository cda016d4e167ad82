"""The verdict's error where the true mean loss is the margin, and its power where the loss is smaller.

    python benchmarks/verdict.py [--trials 4000] [--seed 0] [--margin 0.02] [--section error|power|limits]

Every trial draws a sample of paired differences of Dice, with a known mean, and asks each procedure whether it calls
the network non-inferior. At a true loss of exactly the margin that is an error; 2.5 % are promised. Procedures:

- `bca`: bootstrap, BCa, 999 resamples: what verdicts rested on before.
- `t`: the interval of Student.
- `boot-t`: studentised bootstrap, 999 resamples.
- `hall`: `t` with Hall's correction for skewness.
- `verdict`: `wcr_med.metrics.verdict`, the product's: `hall` with one added patient. It gives none below 40 patients;
  there its column is in brackets and shows what the bound alone would do.

Prints Markdown tables, in percent. The same seed prints the same tables.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from wcr_med.metrics.verdict import MIN_PATIENTS, added_value, bounds_of_mean

Array = npt.NDArray[Any]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]

SIZES = (8, 10, 14, 20, 30, MIN_PATIENTS, 50, 74)
POWER_SIZES = (14, 30, MIN_PATIENTS, 74)
RESAMPLES = 999
_ALPHA = 0.025
_CHUNK = 250


def normal(spread: float) -> Draw:
    """Differences of mean 0."""
    return lambda rng, size: rng.normal(0.0, spread, size)


def few_losses(share: float, loss: float, spread: float, scatter: float = 0.0) -> Draw:
    """A share of patients loses much, the rest changes little; the mean is 0."""

    def draw(rng: np.random.Generator, size: tuple[int, int]) -> Array:
        hit = rng.random(size) < share
        lost = np.where(hit, rng.normal(loss, scatter, size) if scatter else loss, 0.0)
        return rng.normal(0.0, spread, size) - lost + share * loss

    return draw


def exponential(scale: float) -> Draw:
    """Many small gains, few large losses; the mean is 0."""
    return lambda rng, size: scale - rng.exponential(scale, size)


def lognormal(scale: float, sigma: float) -> Draw:
    """The same with a heavier tail."""
    return lambda rng, size: scale * (np.exp(sigma**2 / 2) - rng.lognormal(0.0, sigma, size))


def student(scale: float, degrees: int) -> Draw:
    """Heavy tails on both sides."""
    return lambda rng, size: scale * rng.standard_t(degrees, size)


def lgg_like(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Most patients move by a few thousandths, one in eight by a few hundredths, mostly down; the mean is 0.

    Shaped by eye after pruned networks on LGG: median near 0, quartiles at 0.01, largest loss near 0.2.
    """
    small = 0.008 * rng.standard_t(4, size)
    large = np.where(rng.random(size) < 1 / 8, rng.normal(-0.05, 0.06, size), 0.0)
    return small + large + 0.05 / 8


KINDS: Mapping[str, Draw] = {
    "normal, sd 0.03": normal(0.03),
    "normal, sd 0.06": normal(0.06),
    "few large losses: exponential, 0.05": exponential(0.05),
    "few large losses: 1 in 10 loses 0.1, sd 0.03": few_losses(0.1, 0.1, 0.03),
    "few large losses: 1 in 5 loses 0.1, sd 0.02": few_losses(0.2, 0.1, 0.02),
    "few large losses: 1 in 10 loses 0.2, sd 0.02": few_losses(0.1, 0.2, 0.02),
    "few large losses: 1 in 10 loses 0.3, sd 0.03": few_losses(0.1, 0.3, 0.03),
    "1 in 10 loses 0.2 to 0.4, sd 0.02": few_losses(0.1, 0.3, 0.02, 0.1),
    "LGG-like": lgg_like,
    "heavy tails: Student, 3 degrees": student(0.02, 3),
    "heavy tails: lognormal losses": lognormal(0.03, 1.0),
}
LIMITS: Mapping[str, Draw] = {
    "1 in 14 loses 0.3, sd 0.02": few_losses(1 / 14, 0.3, 0.02),
    "1 in 20 loses 0.4, sd 0.02": few_losses(1 / 20, 0.4, 0.02),
    "1 in 30 loses 0.6, sd 0.02": few_losses(1 / 30, 0.6, 0.02),
}


def bca_lower(samples_TP: Array, rng: np.random.Generator) -> Array:
    """Lower ends of two-sided 95 % BCa intervals of the mean (Efron 1987)."""
    n = samples_TP.shape[1]
    means_T = samples_TP.mean(axis=1)
    centred_TP = (samples_TP - means_T[:, None]) / (n - 1)  # of the jackknife
    acceleration_T = (centred_TP**3).sum(axis=1) / (6 * (centred_TP**2).sum(axis=1) ** 1.5)
    lower = []
    for start in range(0, len(samples_TP), _CHUNK):
        part = slice(start, start + _CHUNK)
        drawn_TR = np.sort(samples_TP[part] @ _counts(n, rng).T / n, axis=1)
        below_T = (drawn_TR < means_T[part, None]).mean(axis=1)
        bias_T = stats.norm.ppf(np.clip(below_T, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
        shifted_T = bias_T + stats.norm.ppf(_ALPHA)
        level_T = stats.norm.cdf(bias_T + shifted_T / (1 - acceleration_T[part] * shifted_T))
        place_T = np.clip((level_T * RESAMPLES).astype(int), 0, RESAMPLES - 1)
        lower.append(drawn_TR[np.arange(len(drawn_TR)), place_T])
    return np.concatenate(lower)


def student_lower(samples_TP: Array, _rng: np.random.Generator) -> Array:
    """Lower ends of Student's interval."""
    n = samples_TP.shape[1]
    error_T = samples_TP.std(axis=1, ddof=1) / np.sqrt(n)
    lower_T: Array = samples_TP.mean(axis=1) - stats.t.ppf(1 - _ALPHA, n - 1) * error_T
    return lower_T


def studentised_lower(samples_TP: Array, rng: np.random.Generator) -> Array:
    """Lower ends of the studentised bootstrap (Efron 1979; Hall 1988)."""
    n = samples_TP.shape[1]
    lower = []
    for start in range(0, len(samples_TP), _CHUNK):
        part_TP = samples_TP[start : start + _CHUNK]
        mean_T, spread_T = part_TP.mean(axis=1), part_TP.std(axis=1, ddof=1)
        counts_RP = _counts(n, rng)
        drawn_TR = part_TP @ counts_RP.T / n
        variance_TR = np.maximum((part_TP**2) @ counts_RP.T / n - drawn_TR**2, 1e-20) * n / (n - 1)
        t_TR = (drawn_TR - mean_T[:, None]) / np.sqrt(variance_TR / n)
        upper_T = np.sort(t_TR, axis=1)[:, int(np.ceil((1 - _ALPHA) * (RESAMPLES + 1))) - 1]
        lower.append(mean_T - upper_T * spread_T / np.sqrt(n))
    return np.concatenate(lower)


def hall_lower(samples_TP: Array, _rng: np.random.Generator) -> Array:
    """Lower ends of Student's interval, corrected for skewness by Hall's cubic transformation (1992)."""
    n = samples_TP.shape[1]
    mean_T = samples_TP.mean(axis=1)
    skewness_T = stats.skew(samples_TP, axis=1)
    y_T = stats.t.ppf(1 - _ALPHA, n - 1) / np.sqrt(n) - skewness_T / (6 * n)
    lower_T: Array = mean_T - 3 / skewness_T * (np.cbrt(1 + skewness_T * y_T) - 1) * samples_TP.std(axis=1, ddof=1)
    return lower_T


def product_lower(margin: float) -> Callable[[Array, np.random.Generator], Array]:
    """Lower bounds of the product's verdict."""

    def lower(samples_TP: Array, _rng: np.random.Generator) -> Array:
        found = (bounds_of_mean(sample_P, margin=margin) for sample_P in samples_TP)
        return np.array([bounds.low for bounds in found if bounds is not None])

    return lower


def rates(draw: Draw, n: int, *, loss: float, margin: float, trials: int, seed: int) -> dict[str, float]:
    """How often each procedure says "non-inferior", in percent, where the true mean loss is `loss`.

    Draws are scaled with the margin, so that the tables of one margin are those of another.
    """
    rng = np.random.default_rng([seed, n])
    samples_TP = draw(rng, (trials, n)) * (margin / 0.02) - loss
    procedures = {
        "bca": bca_lower,
        "t": student_lower,
        "boot-t": studentised_lower,
        "hall": hall_lower,
        "verdict": product_lower(margin),
    }
    return {name: 100 * float(np.mean(lower(samples_TP, rng) > -margin)) for name, lower in procedures.items()}


def tables(rows: Sequence[tuple[str, int, dict[str, float]]]) -> str:
    """A Markdown table a procedure: distributions down, patients across; what the product would not say in brackets."""
    sizes = list(dict.fromkeys(n for _, n, _ in rows))
    texts = []
    for name in rows[0][2]:
        lines = [f"| `{name}` | " + " | ".join(f"n = {n}" for n in sizes) + " |", "|---|" + "--:|" * len(sizes)]
        for label in dict.fromkeys(label for label, _, _ in rows):
            cells = []
            for n in sizes:
                text = f"{next(found[name] for kind, size, found in rows if (kind, size) == (label, n)):.1f}"
                cells.append(f"({text})" if name == "verdict" and n < MIN_PATIENTS else text)
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def errors(kinds: Mapping[str, Draw], given: argparse.Namespace) -> str:
    """The table of one group of distributions, at a true loss of the margin."""
    rows = [
        (label, n, rates(draw, n, loss=given.margin, margin=given.margin, trials=given.trials, seed=given.seed))
        for label, draw in kinds.items()
        for n in SIZES
    ]
    return tables(rows)


def power(given: argparse.Namespace) -> str:
    """How often a network that loses less than the margin is called non-inferior."""
    kinds = {"normal, sd 0.02": normal(0.02), "normal, sd 0.03": normal(0.03), "LGG-like": lgg_like}
    rows = [
        (
            f"{label}, true loss {loss:g}",
            n,
            rates(draw, n, loss=loss, margin=given.margin, trials=given.trials, seed=given.seed),
        )
        for label, draw in kinds.items()
        for loss in (0.0, given.margin / 4, given.margin / 2)
        for n in POWER_SIZES
    ]
    return tables(rows)


def _counts(n: int, rng: np.random.Generator) -> Array:
    """How often each patient is drawn; float64 (R, P)."""
    counts_RP: Array = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
    return counts_RP


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="samples a line; 4000 give an error of 0.25 at 2.5 %%")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--margin", type=float, default=0.02)
    parser.add_argument("--section", choices=("error", "limits", "power"), help="one table alone")
    given = parser.parse_args(arguments)
    sections: dict[str, tuple[str, Callable[[], Any]]] = {
        "error": (
            "Called non-inferior at a true loss of exactly the margin (an error), percent",
            lambda: errors(KINDS, given),
        ),
        "limits": (
            "The same where a loss hits fewer than one patient in ten: no procedure can see what no patient shows",
            lambda: errors(LIMITS, given),
        ),
        "power": ("Called non-inferior at a smaller true loss (power), percent", lambda: power(given)),
    }
    added = f"one patient added at {-added_value(given.margin):g}"
    print(f"margin {given.margin:g}, {added}, {given.trials} trials a line, seed {given.seed}")
    for name, (title, make) in sections.items():
        if given.section in (None, name):
            print(f"\n### {title}\n\n{make()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
