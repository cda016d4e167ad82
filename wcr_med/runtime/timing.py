"""How long files take, measured side by side: what slows the machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

RUNS_IN_A_TURN = 5
"""Timed calls of one function before the next has its turn."""


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
