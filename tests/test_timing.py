from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from wcr_med.timing import RUNS_IN_A_TURN, SpeedRatio, ratios_by_turn, speed_ratio, time_in_turn


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


def test_a_ratio_has_the_range_of_its_turns() -> None:
    turns = [2.0, 2.1, 2.2, 2.3, 2.4]
    slow = [turn for turn in turns for _ in range(RUNS_IN_A_TURN)]
    ratio = speed_ratio(slow, [1.0] * len(slow))
    assert ratio == SpeedRatio(median=2.2, low=pytest.approx(2.02), high=pytest.approx(2.38), n_turns=5)
    assert ratio.words == "2.20 times as fast (2.02 to 2.38, 5th to 95th percentile of 5 interleaved turns)"
    assert ratio.to_dict()["too_noisy"] is False


@pytest.mark.parametrize(
    ("low", "high", "n_turns", "words"),
    [
        (2.27, 22.43, 9, "too noisy to say how many times as fast (2.27 to 22.43,"),
        (1.0, 2.01, 9, "too noisy"),
        (1.0, 2.0, 9, "1.50 times as fast"),
        (1.5, 1.5, 2, "too few runs to say how many times as fast (2 interleaved turns; it takes 3)"),
        (1.5, 1.5, 1, "(1 interleaved turn; it takes 3)"),
        (float("nan"), float("nan"), 9, "too noisy"),
        (1.0, float("inf"), 9, "too noisy"),
        (0.0, 1.0, 9, "too noisy"),
    ],
)
def test_a_ratio_that_means_nothing_is_not_printed(low: float, high: float, n_turns: int, words: str) -> None:
    ratio = SpeedRatio(median=1.5, low=low, high=high, n_turns=n_turns)
    assert words in ratio.words
    assert ("1.50 times" in ratio.words) == (not ratio.too_noisy)
