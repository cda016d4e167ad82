"""How long files take, measured side by side: what slows the machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

RUNS_IN_A_TURN = 5
"""Timed calls of one function before the next has its turn."""

FEWEST_TURNS = 3
"""Below so many turns a ratio has no range."""

WIDEST = 2.0
"""A ratio whose upper end is more than this many times its lower end is too noisy to say."""


@dataclass(frozen=True, kw_only=True)
class SpeedRatio:
    """How many times as fast one thing is as another, from runs that took turns.

    Attributes:
        median: over the turns, of the ratio of the medians of a turn's runs.
        low: 5th percentile over the turns, linear interpolation; `high` the 95th.
        n_turns: interleaved turns of both.
    """

    median: float
    low: float
    high: float
    n_turns: int

    @property
    def too_noisy(self) -> bool:
        """Too few turns, or ends more than `WIDEST` times apart: the median is then never printed."""
        return self.n_turns < FEWEST_TURNS or not self.high <= WIDEST * self.low

    def to_dict(self) -> dict[str, float | int | bool]:
        """JSON-ready, with `too_noisy`."""
        return {**asdict(self), "too_noisy": self.too_noisy}

    @property
    def cell(self) -> str:
        """For a table: "3.49 (3.20 to 3.71)", "too noisy (1.10 to 22.43)", "too few runs"."""
        if self.n_turns < FEWEST_TURNS:
            return "too few runs"
        ends = f"({self.low:.2f} to {self.high:.2f})"
        return f"too noisy {ends}" if self.too_noisy else f"{self.median:.2f} {ends}"

    @property
    def words(self) -> str:
        """For a sentence: "3.49 times as fast (3.20 to 3.71, ...)", or why that cannot be said."""
        how = f"5th to 95th percentile of {self.n_turns} interleaved turns"
        if self.n_turns < FEWEST_TURNS:
            few = "1 interleaved turn" if self.n_turns == 1 else f"{self.n_turns} interleaved turns"
            return f"too few runs to say how many times as fast ({few}; it takes {FEWEST_TURNS})"
        if self.too_noisy:
            return f"too noisy to say how many times as fast ({self.low:.2f} to {self.high:.2f}, {how})"
        return f"{self.median:.2f} times as fast ({self.low:.2f} to {self.high:.2f}, {how})"


def ratio_of(values: Sequence[float]) -> SpeedRatio:
    """Median and range of the ratios of single turns, at least one."""
    low, high = np.percentile(values, (5, 95))
    return SpeedRatio(median=statistics.median(values), low=float(low), high=float(high), n_turns=len(values))


def speed_ratio(slow: Sequence[float], fast: Sequence[float]) -> SpeedRatio:
    """How many times as fast `fast` was as `slow`; both are times of `time_in_turn`, of one call of it.

    Args:
        slow: milliseconds, at least one.
        fast: as many.
    """
    return ratio_of(ratios_by_turn(slow, fast))


def time_in_turn(
    runs: Mapping[str, Callable[[], object]],
    n_runs: int,
    *,
    pause_s: float = 0.1,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, list[float]]:
    """Milliseconds of each function, all called in turn, a few times at once.

    Before each turn there is a rest, since the threads of the engine before wait busily for a while after their last
    run, and one call that does not count, since the caches are another's.

    Args:
        runs: by name.
        n_runs: timed calls of each, at least 1.
        pause_s: length of the rest, seconds.
        track: passes the rounds through and shows how far they are.

    Returns:
        `n_runs` times a function, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for first in track(range(0, n_runs, RUNS_IN_A_TURN)):
        for name, run in runs.items():
            time.sleep(pause_s)
            run()
            for _ in range(min(RUNS_IN_A_TURN, n_runs - first)):
                start = time.perf_counter()
                run()
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratios_by_turn(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times as fast `fast` was as `slow`, in each turn of `time_in_turn`: the ratio of the turn's medians."""
    return [
        statistics.median(slow[first : first + RUNS_IN_A_TURN])
        / statistics.median(fast[first : first + RUNS_IN_A_TURN])
        for first in range(0, len(slow), RUNS_IN_A_TURN)
    ]
