"""How often the exact interval of a rate holds the true rate, with trials that resemble each other within a patient.

    python benchmarks/rates.py [--trials 2000]

Patients bring 5 to 15 slices each (or 1 to 5 lesions); each has a rate of its own, from a beta distribution whose
intraclass correlation is given. Prints, as Markdown, the share of simulated studies whose 95 % interval
(`wcr_med.metrics.rates`) holds the true rate, the share in which it ends below it, and its mean width; beside it the
BCa bootstrap over patients of the same data, which has no interval where all patients have the same rate.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from wcr_med.metrics.rates import rate_interval
from wcr_med.metrics.uncertainty import Interval, bootstrap

CASES: Sequence[tuple[int, int, float, float]] = (
    (5, 15, 0.01, 0.1),
    (14, 15, 0.01, 0.4),
    (14, 15, 0.05, 0.4),
    (14, 15, 0.3, 0.1),
    (14, 5, 0.9, 0.4),
    (30, 15, 0.05, 0.4),
    (74, 15, 0.01, 0.4),
    (74, 15, 0.05, 0.1),
    (74, 5, 0.9, 0.4),
)
"""Patients, most trials of one, true rate, intraclass correlation."""


def simulate(case: tuple[int, int, float, float], *, trials: int, seed: int = 0) -> Iterator[tuple[float, ...]]:
    """For each simulated study: held, below and width of the exact interval, then of the bootstrap."""
    n_patients, most, rate, alike = case
    rng = np.random.default_rng(seed)
    total = (1 - alike) / alike
    for _ in range(trials):
        n_P = rng.integers(5 if most > 5 else 1, most + 1, n_patients)
        events_P = rng.binomial(n_P, rng.beta(rate * total, (1 - rate) * total, n_patients))
        exact = rate_interval(events_P, n_P)
        drawn = bootstrap(events_P.astype(float), n_P.astype(float), resamples=300)
        yield (*_outcome(exact, rate), *_outcome(drawn, rate))


def _outcome(interval: Interval | None, rate: float) -> tuple[float, float, float]:
    if interval is None:  # said to be 0 or 1 without an interval
        return 0.0, 0.0, 0.0
    return float(interval.low <= rate <= interval.high), float(interval.high < rate), interval.high - interval.low


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated studies of each case")
    arguments = parser.parse_args()
    print("| patients | trials of one | true rate | alike | exact: holds | ends below | width | bootstrap: holds |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for case in CASES:
        held, below, width, drawn, *_ = np.mean(list(simulate(case, trials=arguments.trials)), axis=0)
        n_patients, most, rate, alike = case
        print(
            f"| {n_patients} | {5 if most > 5 else 1} to {most} | {rate:g} | {alike:g} | {100 * held:.1f} % |"
            f" {100 * below:.1f} % | {width:.3f} | {100 * drawn:.1f} % |"
        )


if __name__ == "__main__":
    main()
