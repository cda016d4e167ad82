"""The search for a sparsity, on made-up networks."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.pruning.bounds import Bounds, Trial
from wcr_med.pruning.search import COST_WEIGHTS, GRID, Found, Measure, last_before_failure, search

SHORT = tuple(step / 20 for step in range(20))


def measured(
    drop: Callable[[float, float], float],
    *,
    size: Callable[[float, float], float] = lambda sparsity, _: 1e6 * (1 - sparsity),
    latency: Callable[[float, float], float] = lambda sparsity, _: 100 * (1 - sparsity),
) -> Measure:
    seen = set()

    def measure(sparsity: float, cost_weight: float) -> Trial:
        assert (sparsity, cost_weight) not in seen, "measured twice"
        seen.add((sparsity, cost_weight))
        lost = drop(sparsity, cost_weight)
        return Trial(
            sparsity=sparsity,
            cost_weight=cost_weight,
            dice_patient=0.9 - lost,
            dice_drop=lost,
            size_bytes=round(size(sparsity, cost_weight)),
            latency_ms=latency(sparsity, cost_weight),
        )

    return measure


def answer(found: Found) -> float:
    assert found.answer is not None
    return found.answer.sparsity


def test_the_grid_is_ascending_and_fine_at_its_end() -> None:
    assert tuple(sorted(set(GRID))) == GRID
    assert GRID[:2] == (0.0, 0.005)
    assert GRID[-1] == 0.998
    assert {0.9, 0.935, 0.98, 0.981, 0.995} <= set(GRID)


@settings(deadline=None)  # on a busy machine a pause is no fault
@given(st.integers(0, 60), st.integers(0, 60))
def test_a_step_is_found_exactly(n: int, first_failure: int) -> None:
    calls = []
    edge = last_before_failure(n, lambda index: calls.append(index) or index < first_failure)
    assert edge.index == min(first_failure, n) - 1
    assert edge.monotone
    assert len(calls) == len(set(calls)) <= n.bit_length() + 4


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_any_answer_has_what_an_edge_promises(values: list[bool]) -> None:
    tried = {}
    edge = last_before_failure(len(values), lambda index: tried.setdefault(index, values[index]))
    first_failure = min((index for index, met in tried.items() if not met), default=len(values))
    assert edge.index == max((index for index in tried if index < first_failure), default=-1)
    if edge.index >= 0:
        assert values[edge.index]
        assert edge.index == 0 or tried[edge.index - 1]
    assert edge.index + 1 == len(values) or not tried[edge.index + 1]
    assert edge.monotone == all(not met for index, met in tried.items() if index > first_failure)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.05, 20))
def test_the_largest_sparsity_within_a_drop(bound: float, power: float) -> None:
    def drop(sparsity: float, _: float) -> float:
        return sparsity**power

    found = search(Bounds(max_dice_drop=bound), measured(drop))
    assert answer(found) == max(sparsity for sparsity in GRID if drop(sparsity, 0) <= bound)
    assert found.bound == (() if answer(found) == GRID[-1] else ("max_dice_drop",))
    assert found.monotone


@settings(deadline=None)
@given(st.integers(1, 1_200_000), st.floats(1, 120))
def test_the_smallest_sparsity_that_is_small_and_fast(size: int, latency: float) -> None:
    bounds = Bounds(max_size_bytes=size, max_latency_ms=latency)
    measure = measured(lambda *_: 0.0)
    found = search(bounds, measure, cost_weight=1.0)
    good = [sparsity for sparsity in GRID if round(1e6 * (1 - sparsity)) <= size and 100 * (1 - sparsity) <= latency]
    if not good:
        assert found.answer is None
        assert found.refused is None
        assert found.best is not None
        assert found.best.sparsity == GRID[-1]
        return
    assert answer(found) == min(good)
    assert bool(found.bound) == (answer(found) > 0)


@settings(deadline=None)
@given(st.lists(st.floats(-0.2, 1), min_size=20, max_size=20), st.floats(0, 1))
def test_without_order_the_answer_still_meets_the_drop(drops: list[float], bound: float) -> None:
    found = search(Bounds(max_dice_drop=bound), measured(lambda sparsity, _: drops[SHORT.index(sparsity)]), grid=SHORT)
    if found.answer is not None:
        assert found.answer.dice_drop <= bound
        below = [trial for trial in found.trials if trial.sparsity < found.answer.sparsity]
        assert all(trial.dice_drop <= bound for trial in below)
    else:
        assert found.best is not None
        assert found.best.dice_drop == min(trial.dice_drop for trial in found.trials)


@settings(deadline=None)
@given(
    st.lists(st.floats(-0.2, 1), min_size=20, max_size=20),
    st.lists(st.floats(0.1, 200), min_size=20, max_size=20),
    st.floats(0, 1),
    st.floats(1, 200),
    st.sampled_from([0.0, 1.0]),
)
def test_without_order_no_answer_breaks_a_bound(
    drops: list[float], latencies: list[float], drop: float, latency: float, cost_weight: float
) -> None:
    bounds = Bounds(max_dice_drop=drop, max_latency_ms=latency)
    measure = measured(
        lambda sparsity, _: drops[SHORT.index(sparsity)],
        latency=lambda sparsity, _: latencies[SHORT.index(sparsity)],
    )
    found = search(bounds, measure, cost_weight=cost_weight, grid=SHORT)
    assert found.answer is None or not bounds.exceeded(found.answer)
    if found.refused is not None:
        assert bounds.exceeded(found.refused) == ("max_dice_drop",)
        assert found.best is None or found.best.dice_drop <= drop
    elif found.answer is None:
        assert found.best is not None
        assert found.best.latency_ms == min(trial.latency_ms or 0 for trial in found.trials)


def test_a_lucky_value_is_no_answer() -> None:
    failing = set(range(5, 20)) - {10}  # bisection of 0 .. 19 tries 10 first
    edge = last_before_failure(20, lambda index: index not in failing)
    assert edge.index == 4
    assert not edge.monotone


def test_a_drop_that_is_too_large_is_refused_with_the_best_within_it() -> None:
    found = search(Bounds(max_dice_drop=0.5, max_size_bytes=300_000), measured(lambda sparsity, _: sparsity))
    assert found.answer is None
    assert found.refused is not None
    assert found.refused.sparsity == 0.7
    assert found.best is not None
    assert found.best.sparsity == 0.5


def test_a_drop_that_nothing_keeps_to_leaves_no_best() -> None:
    found = search(Bounds(max_dice_drop=0.0, max_size_bytes=300_000), measured(lambda *_: 0.1), grid=SHORT)
    assert found.answer is None
    assert found.refused is not None
    assert found.best is None
    alone = search(Bounds(max_dice_drop=0.0), measured(lambda sparsity, _: 0.1 + sparsity), grid=SHORT)
    assert alone.best is not None
    assert alone.best.sparsity == 0.0


def test_cost_is_taken_into_account_where_latency_needs_it() -> None:
    def latency(sparsity: float, cost_weight: float) -> float:
        return 100 * (1 - sparsity) / (1 + cost_weight)

    bounds = Bounds(max_dice_drop=0.9, max_latency_ms=9)
    found = search(bounds, measured(lambda sparsity, _: sparsity, latency=latency), grid=GRID)
    assert found.answer is not None
    assert (found.answer.cost_weight, found.answer.sparsity) == (1.0, 0.825)
    assert {trial.cost_weight for trial in found.trials} == {0.0, *COST_WEIGHTS}
    ready = search(
        Bounds(max_dice_drop=0.95, max_latency_ms=9), measured(lambda sparsity, _: sparsity, latency=latency)
    )
    assert ready.answer is not None
    assert {trial.cost_weight for trial in ready.trials} == {0.0}


def test_of_equal_drops_the_smaller_cost_weight_wins() -> None:
    measure = measured(lambda *_: 0.0, latency=lambda _, cost_weight: 1.0 if cost_weight else 100.0)
    found = search(Bounds(max_latency_ms=2), measure, grid=SHORT)
    assert found.answer is not None
    assert (found.answer.cost_weight, found.answer.sparsity) == (0.5, 0.0)


def test_a_configured_cost_weight_is_the_only_one() -> None:
    found = search(Bounds(max_latency_ms=1e-9), measured(lambda *_: 0.0), cost_weight=0.25, grid=SHORT)
    assert found.answer is None
    assert {trial.cost_weight for trial in found.trials} == {0.25}


def test_only_what_is_measured_can_be_bounded() -> None:
    trial = Trial(sparsity=0.5, cost_weight=0.0, dice_patient=0.8, dice_drop=float("nan"))
    assert Bounds(max_dice_drop=0.5).exceeded(trial) == ("max_dice_drop",)
    with pytest.raises(ValueError, match="max_size is bounded"):
        Bounds(max_size_bytes=1).exceeded(trial)


def test_nothing_to_search_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing is bounded"):
        search(Bounds(), measured(lambda *_: 0.0))
    with pytest.raises(ValueError, match="no sparsity"):
        search(Bounds(max_dice_drop=0.1), measured(lambda *_: 0.0), grid=())
