"""Sets of nodes that may become one node each without a cycle through the others."""

from collections.abc import Mapping, Sequence


def group(reads: Sequence[Sequence[int]], wanted: Sequence[bool]) -> list[list[int]]:
    """Divide the wanted nodes of a graph into connected sets, each as large as can be.

    Contracting every set to one node leaves a graph without cycles, so each set is convex: no path leaves it and comes
    back. No two sets that an edge joins could be one.

    Nodes are first divided by the largest number of times that a path to them leaves the wanted nodes, which separates
    whatever must be separate; connected sets that need not be are then joined.

    Args:
        reads: for each node the nodes whose results it needs; each comes before it.
        wanted: which nodes are to be put into sets.

    Returns:
        The sets, each ascending, in the order of their first nodes; empty where no node is wanted.
    """
    depth: list[int] = []
    for node, sources in enumerate(reads):
        leaving = [depth[source] + (wanted[source] and not wanted[node]) for source in sources]
        depth.append(max(leaving, default=0))
    sets = {node: node for node in range(len(reads))}  # each node's set, named by one of its nodes
    for node, sources in enumerate(reads):
        for source in sources:
            if wanted[node] and wanted[source] and depth[node] == depth[source]:
                _rename(sets, sets[source], sets[node])
    while (pair := _joinable(reads, wanted, sets)) is not None:
        _rename(sets, *pair)
    members: dict[int, list[int]] = {}
    for node in range(len(reads)):
        if wanted[node]:
            members.setdefault(sets[node], []).append(node)
    return list(members.values())


def _rename(sets: dict[int, int], old: int, new: int) -> None:
    for node, name in sets.items():
        if name == old:
            sets[node] = new


def _joinable(
    reads: Sequence[Sequence[int]], wanted: Sequence[bool], sets: Mapping[int, int]
) -> tuple[int, int] | None:
    """Two sets that an edge joins and no other path does."""
    followers: dict[int, set[int]] = {}
    edges: dict[tuple[int, int], None] = {}
    for node, sources in enumerate(reads):
        for source in sources:
            if sets[source] != sets[node]:
                followers.setdefault(sets[source], set()).add(sets[node])
                if wanted[node] and wanted[source]:
                    edges[sets[source], sets[node]] = None
    for first, second in edges:
        if not _reaches(followers, followers[first] - {second}, second):
            return first, second
    return None


def _reaches(followers: Mapping[int, set[int]], starts: set[int], target: int) -> bool:
    seen, pending = set(starts), list(starts)
    while pending:
        for follower in followers.get(pending.pop(), ()):
            if follower == target:
                return True
            if follower not in seen:
                seen.add(follower)
                pending.append(follower)
    return False
