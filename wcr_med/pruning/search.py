"""Which sparsity meets a target: bisection on a fixed grid, with whatever measures a sparsity handed in.

A bound is assumed to be monotone: a higher sparsity costs more Dice, and makes the file smaller and faster. Measured
values are only nearly so. What is promised is therefore about sparsities that were tried, see `Edge`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from wcr_med.pruning.bounds import Bound, Bounds, Trial

GRID: tuple[float, ...] = (
    *(round(0.005 * step, 3) for step in range(197)),
    *(round(0.98 + 0.001 * step, 3) for step in range(1, 19)),
)
"""Every sparsity that may be tried: 0 to 0.98 in steps of 0.005, then to 0.998 in steps of 0.001."""

COST_WEIGHTS = (0.5, 1.0)
"""Allocations that are tried besides one without cost, where it cannot meet a latency."""


Measure = Callable[[float, float], Trial]
"""(sparsity, cost_weight) -> what it gives."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Where a condition that holds at first stops to hold.

    Every tried index up to `index` met the condition, `index - 1` among them where there is one; `index + 1` did not,
    unless `index` is the last.

    Attributes:
        index: the last before the first tried index that fails; -1 where the very first fails.
        monotone: no tried index above a failing one meets the condition.
    """

    index: int
    monotone: bool


def last_before_failure(n: int, meets: Callable[[int], bool]) -> Edge:
    """Find where `meets` changes from true to false among 0 .. n - 1, by bisection.

    The first is tried first: where it fails, nothing else is. At the end the neighbours are tried. Where the one below
    fails, the search goes on below it, so that a single lucky value is no answer. Where the second above meets the
    condition, the answer stays and is called not monotone.

    Args:
        n: how many; 0 gives an edge of -1.
        meets: called once an index at most.
    """
    tried: dict[int, bool] = {}

    def test(index: int) -> bool:
        if index not in tried:
            tried[index] = meets(index)
        return tried[index]

    if n == 0 or not test(0):
        return Edge(index=-1, monotone=True)
    low, high = 0, n
    while True:
        while high - low > 1:
            middle = (low + high) // 2
            if test(middle):
                low = middle
            else:
                high = middle
        if low == 0 or test(low - 1):
            break
        high = low - 1
        low = max(index for index, met in tried.items() if met and index < high)
    if high + 1 < n:
        test(high + 1)
    first_failure = min((index for index, met in tried.items() if not met), default=n)
    return Edge(index=low, monotone=not any(met for index, met in tried.items() if index > first_failure))


@dataclass(frozen=True, kw_only=True)
class Found:
    """How a search ended.

    Attributes:
        answer: what to take; `None` where the bounds cannot be met together.
        refused: where there is no answer because of its drop: the smallest sparsity that meets size and latency.
        best: where there is no answer, the trial that comes nearest. After a refusal: of those within the drop the one
            nearest to the bounds on the file, or `None`. Otherwise the nearest to the bounds on the file; with a bound
            on Dice alone the one with the smallest drop.
        bound: the bounds that keep the answer from being better: those that its neighbour exceeds; empty at an end of
            the grid.
        monotone: see `Edge`.
        trials: every trial, in the order they were made.
    """

    answer: Trial | None
    refused: Trial | None
    best: Trial | None
    bound: tuple[Bound, ...]
    monotone: bool
    trials: tuple[Trial, ...]


def search(
    bounds: Bounds,
    measure: Measure,
    *,
    cost_weight: float = 0.0,
    others: Sequence[float] = COST_WEIGHTS,
    grid: Sequence[float] = GRID,
) -> Found:
    """Find the sparsity that meets the bounds.

    A bound on Dice alone: the largest sparsity within it. A bound on size or latency: the smallest sparsity that meets
    all of these, refused where its drop is too large. Where that gives no answer, latency is bounded and `cost_weight`
    is 0, the `others` are tried too; of those that have an answer the smallest drop wins, then the earlier.

    Args:
        bounds: at least one.
        measure: called once a sparsity and cost weight.
        cost_weight: of the configured allocation.
        others: cost weights that may stand in for it.
        grid: sparsities, ascending, at least one.

    Raises:
        ValueError: nothing is bounded, or the grid is empty.
    """
    if not bounds.on_file and bounds.max_dice_drop is None:
        raise ValueError("nothing is bounded")
    if not grid:
        raise ValueError("there is no sparsity to try")
    tries = _Tries(bounds, measure, tuple(grid))
    attempts = [tries.attempt(cost_weight)]
    if attempts[0].answer is None and cost_weight == 0 and bounds.max_latency_ms is not None:
        attempts += [tries.attempt(weight) for weight in others]
    answered = [(one.answer.dice_drop, number) for number, one in enumerate(attempts) if one.answer is not None]
    found = attempts[min(answered)[1]] if answered else tries.nearest(attempts)
    return replace(found, trials=tuple(tries.made.values()))


class _Tries:
    """Trials that are made once, and the searches among them."""

    def __init__(self, bounds: Bounds, measure: Measure, grid: tuple[float, ...]) -> None:
        self.made: dict[tuple[float, float], Trial] = {}
        self._bounds, self._measure, self._grid = bounds, measure, grid

    def at(self, index: int, cost_weight: float) -> Trial:
        key = (self._grid[index], cost_weight)
        if key not in self.made:
            self.made[key] = self._measure(*key)
        return self.made[key]

    def attempt(self, cost_weight: float) -> Found:
        """The search with one allocation; `best` is left open."""
        if self._bounds.on_file:
            edge, step = self._first_that_is_small_and_fast(cost_weight), -1
        else:
            edge, step = self._last_within_drop(cost_weight, len(self._grid)), 1
        inside = range(len(self._grid))
        trial = self.at(edge.index, cost_weight) if edge.index in inside else None
        refused = trial if trial is not None and self._bounds.exceeded(trial) else None
        answer = None if refused is not None else trial
        beyond = edge.index + step
        exceeded = self._bounds.exceeded if step > 0 else self._bounds.file_exceeded
        return Found(
            answer=answer,
            refused=refused,
            best=None,
            bound=exceeded(self.at(beyond, cost_weight)) if answer is not None and beyond in inside else (),
            monotone=edge.monotone,
            trials=(),
        )

    def nearest(self, attempts: Sequence[Found]) -> Found:
        """Of attempts without an answer the one to report, with `best` filled in."""
        refusals = [(one.refused.dice_drop, number) for number, one in enumerate(attempts) if one.refused is not None]
        everything = list(self.made.values())
        if not refusals:
            rank = self._bounds.file_ratio if self._bounds.on_file else _drop
            return replace(attempts[0], best=min(everything, key=rank))
        chosen = attempts[min(refusals)[1]]
        assert chosen.refused is not None
        # How far does that allocation go within the drop? What was tried so far lies far apart.
        self._last_within_drop(chosen.refused.cost_weight, self._grid.index(chosen.refused.sparsity))
        within = [trial for trial in self.made.values() if not self._bounds.drop_exceeded(trial)]
        return replace(chosen, best=min(within, key=self._bounds.file_ratio, default=None))

    def _last_within_drop(self, cost_weight: float, n: int) -> Edge:
        return last_before_failure(n, lambda index: not self._bounds.drop_exceeded(self.at(index, cost_weight)))

    def _first_that_is_small_and_fast(self, cost_weight: float) -> Edge:
        last = len(self._grid) - 1
        edge = last_before_failure(
            last + 1, lambda index: not self._bounds.file_exceeded(self.at(last - index, cost_weight))
        )
        return replace(edge, index=last - edge.index)


def _drop(trial: Trial) -> float:
    return trial.dice_drop
