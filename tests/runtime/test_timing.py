from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from wcr_med.runtime.timing import RUNS_IN_A_TURN, ratios_by_turn, time_in_turn


@pytest.mark.parametrize("n_runs", [1, 5, 7])
def test_files_take_turns_and_are_timed_alike(n_runs: int) -> None:
    called: list[str] = []
    times = time_in_turn({name: partial(called.append, name) for name in "ab"}, n_runs, pause_s=0)
    assert {name: len(found) for name, found in times.items()} == {"a": n_runs, "b": n_runs}
    assert all(time >= 0 for found in times.values() for time in found)
    turns = "".join(called).replace("ab", "a b").replace("ba", "b a").split()
    assert [len(turn) - 1 for turn in turns[::2]] == [len(turn) - 1 for turn in turns[1::2]]  # one does not count
    assert sum(len(turn) - 1 for turn in turns[::2]) == n_runs
    assert max(map(len, turns)) <= 6


def test_ratios_are_those_of_turns() -> None:
    slow = [4.0] * RUNS_IN_A_TURN + [9.0] * RUNS_IN_A_TURN
    fast = [2.0] * (RUNS_IN_A_TURN - 1) + [100.0] + [3.0] * RUNS_IN_A_TURN  # one slow run in a turn does not count
    assert ratios_by_turn(slow, fast) == [2.0, 3.0]


def test_rounds_are_tracked() -> None:
    seen: list[int] = []

    def track(rounds: Sequence[int]) -> Iterator[int]:
        for number in rounds:
            seen.append(number)
            yield number

    time_in_turn({"a": list}, 2 * RUNS_IN_A_TURN, pause_s=0, track=track)
    assert seen == [0, RUNS_IN_A_TURN]
