import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.export.partition.grouping import group
from wcr_med.export.partition.sizes import Size


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[bool]]:
    n = draw(st.integers(0, 9))
    reads = [draw(st.lists(st.integers(0, node - 1), max_size=3)) if node else [] for node in range(n)]
    return reads, draw(st.lists(st.booleans(), min_size=n, max_size=n))


def contracted_is_acyclic(reads: list[list[int]], sets: list[list[int]]) -> bool:
    name = {node: ("set", index) for index, nodes in enumerate(sets) for node in nodes}
    edges = {
        (name.get(source, source), name.get(node, node)) for node, sources in enumerate(reads) for source in sources
    }
    edges = {(before, after) for before, after in edges if before != after}
    nodes = {name.get(node, node) for node in range(len(reads))}
    while free := {node for node in nodes if not any(after == node for _, after in edges)}:
        nodes -= free
        edges = {(before, after) for before, after in edges if before not in free}
    return not nodes


def connected(reads: list[list[int]], nodes: list[int]) -> bool:
    reached, grown = {nodes[0]}, True
    while grown:
        more = {b for a, b in _edges(reads, nodes) if a in reached} | {
            a for a, b in _edges(reads, nodes) if b in reached
        }
        grown = not more <= reached
        reached |= more
    return reached == {*nodes}


def _edges(reads: list[list[int]], nodes: list[int]) -> set[tuple[int, int]]:
    return {(source, node) for node in nodes for source in reads[node] if source in nodes}


@given(graph=graphs())
@settings(max_examples=200, deadline=None)
def test_sets_are_connected_convex_and_maximal(graph: tuple[list[list[int]], list[bool]]) -> None:
    reads, wanted = graph
    sets = group(reads, wanted)
    assert sorted(itertools.chain(*sets)) == [node for node, take in enumerate(wanted) if take]
    assert contracted_is_acyclic(reads, sets)
    assert all(connected(reads, nodes) for nodes in sets)
    for first, second in itertools.combinations(range(len(sets)), 2):
        joint = [*sets[first], *sets[second]]
        others = [nodes for index, nodes in enumerate(sets) if index not in (first, second)]
        assert not (connected(reads, joint) and contracted_is_acyclic(reads, [joint, *others]))


def test_what_is_beside_a_barrier_joins_what_comes_after_it() -> None:
    # 0 -> 1 (not wanted) -> 3, and 2 -> 3
    assert group([[], [0], [], [1, 2]], [True, False, True, True]) == [[0], [2, 3]]


def test_no_nodes_give_no_sets() -> None:
    assert group([], []) == []
    assert group([[], [0]], [False, False]) == []


@given(
    size=st.integers(8, 40),
    scale=st.integers(1, 3),
    offset=st.integers(0, 5),
    extent=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
)
def test_a_size_that_is_not_known_follows_the_known_one(
    size: int, scale: int, offset: int, extent: int, stride: int, padding: int
) -> None:
    known, unknown = Size.of(scale * size + offset), Size("side", scale, offset)
    for step in (
        lambda value: value.windows(extent, stride, padding),
        lambda value: value.widened(extent, stride, padding, stride - 1),
        lambda value: value.times(stride),
    ):
        after = step(unknown)
        if after.base == "side":
            assert step(known).known == after.scale * size + after.offset


def test_equal_steps_give_equal_sizes_and_others_do_not() -> None:
    side = Size.unknown("side")
    assert side.windows(3, 1, 2) == side
    assert side.windows(3, 2, 2) == side.windows(3, 2, 2) != side.windows(2, 2, 2)
    assert side.windows(3, 2, 2) == side.windows(2, 2, 1)  # floor((n - 1) / 2) + 1 both
    assert side.times(2).windows(2, 2, 0) == side
    assert side.known is None


@pytest.mark.parametrize("number", [0, 7])
def test_a_known_size(number: int) -> None:
    assert Size.of(number).known == number
