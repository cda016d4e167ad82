"""Backward: which channels must stay, and which constant ones stand for others at padded borders."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wcr_med.export.channels.choice import Choice, Labels
from wcr_med.export.channels.kernels import Kernel
from wcr_med.export.channels.roles import Barrier, Join, Map, Role, Sizes
from wcr_med.export.channels.working import Bools, Floats, WorkingGraph

_CONVOLUTIONS = ("Conv", "ConvTranspose")

# A constant that stands for others is no smaller than this share of them: its rounding error is scaled up with it.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What stays.

    Attributes:
        keep: for each feature map bool (C,).
        values: for each feature map float64 (C,), the constants that the plan relies on, NaN elsewhere.
        stopped: output name of each node at which channels stay that nothing needs -> why.
    """

    keep: dict[str, Bools]
    values: dict[str, Floats]
    stopped: dict[str, str]

    def removes(self) -> bool:
        """Whether any channel goes."""
        return not all(kept.all() for kept in self.keep.values())


def plan(graph: WorkingGraph, roles: Sequence[Role], values: dict[str, Floats]) -> Plan:
    """Decide which channels stay.

    Channels that an operator maps onto each other stay or go together. Such a family stays if one of its channels is
    read by an operator that is not understood, is a graph input or output, or is read with a non-zero weight and is not
    constant. A constant that adds the same everywhere goes into the bias. Of the constants that do not, for they meet
    padding, one in each map stays and stands for all.
    """
    return _Planner(graph, roles, values).run()


class _Planner:
    def __init__(self, graph: WorkingGraph, roles: Sequence[Role], values: dict[str, Floats]) -> None:
        self.graph = graph
        self.values = values
        self.kernels = [role for role in reversed(roles) if isinstance(role, Kernel)]
        self.needed_maps = [role.node.input[0] for role in roles if isinstance(role, Sizes) and role.needs_map]
        self.family = _families(graph, roles)
        every = np.concatenate([*self.family.values(), np.zeros(0, dtype=int)]).astype(int)
        size = np.bincount(every)  # channels of each family
        self.choice = Choice(self.kernels, self.family, size, values)
        self.live = np.zeros(len(size), dtype=bool)
        self.reasons = _pin(graph, roles, self.family, self.live)
        self.pinned = self.live.copy()
        self.convolved = [kernel.target for kernel in self.kernels] + [
            role.node.output[0] for role in roles if isinstance(role, Barrier) and role.node.op_type in _CONVOLUTIONS
        ]

    def run(self) -> Plan:
        while self._read() or self._stand_in() or self._keep_one():
            pass
        keep = {name: self.live[labels] for name, labels in self.family.items()}
        return Plan(keep=keep, values=self.values, stopped=self._stopped())

    def _read(self) -> bool:
        """Keep what varies and is read. Whether that was anything new."""
        before = int(self.live.sum())
        count = -1
        while count != int(self.live.sum()):
            count = int(self.live.sum())
            for kernel in self.kernels:
                self.live[self.family[kernel.source][self._varying(kernel)]] = True
        return count != before

    def _varying(self, kernel: Kernel) -> Bools:
        rows = self.live[self.family[kernel.target]]
        varying: Bools = np.any(kernel.reads[rows], axis=0) & np.isnan(self.values[kernel.source])
        return varying

    def _stand_in(self) -> bool:
        """Keep a constant for each map that needs one at its borders; the one that serves most maps. Whether any."""
        wishes = [wish for kernel in self.kernels if (wish := self._wish(kernel)) is not None]
        if not wishes:
            return False
        votes = Counter(label for wish in wishes for label in wish)
        most = max(votes.values())
        best = [label for label, count in votes.items() if count == most]
        self.live[self.choice.cheapest(best, self.live)] = True
        return True

    def _wish(self, kernel: Kernel) -> set[int] | None:
        """Families of which one must stand for the constants that a kernel reads unevenly; `None` if none must."""
        labels, values = self.family[kernel.source], self.values[kernel.source]
        demanded = uneven_constants(kernel, self.live[self.family[kernel.target]], self.live[labels], values)
        if not demanded.any():
            return None
        able = able_to_stand_in(values, demanded)
        return None if (able & self.live[labels]).any() else set(labels[able].tolist())

    def _keep_one(self) -> bool:
        """Keep a channel of one map that must not vanish. Whether there was such a map."""
        sources = [kernel.source for kernel in self.kernels if self.live[self.family[kernel.target]].any()]
        for name in (*sources, *self.needed_maps):
            labels = self.family.get(name)
            if labels is not None and not self.live[labels].any():
                self.live[self.choice.cheapest(labels.tolist(), self.live)] = True
                return True
        return False

    def _stopped(self) -> dict[str, str]:
        """Reasons for what stays only because it is pinned; a family without a convolution could not go anyway."""
        made = np.zeros_like(self.live)
        read = np.zeros_like(self.live)
        for name in self.convolved:
            made[self.family.get(name, [])] = True
        for kernel in self.kernels:
            read[self.family[kernel.source][self._varying(kernel)]] = True
        idle = {int(label) for label in np.flatnonzero(self.pinned & made & ~read)}
        return {name: reason for name, (reason, labels) in self.reasons.items() if idle & labels}


def uneven_constants(kernel: Kernel, rows: Bools, kept: Bools, values: Floats) -> Bools:
    """Source channels that go, are constant, and add different values at different places to a target that stays."""
    demanded: Bools = kernel.uneven[rows].any(axis=0) & ~kept & ~np.isnan(values) & (values != 0)
    return demanded


def able_to_stand_in(values: Floats, demanded: Bools) -> Bools:
    """Constant channels large enough to stand for the demanded ones; at least one of those is among them."""
    magnitude = np.nan_to_num(np.abs(values))
    able: Bools = (magnitude > 0) & (magnitude >= _LEAST_SHARE * magnitude[demanded].max())
    return able


def _families(graph: WorkingGraph, roles: Sequence[Role]) -> dict[str, Labels]:
    """A label for each channel of each feature map; channels with the same label stay or go together."""
    start: dict[str, int] = {}
    total = 0
    for name, n in graph.channels.items():
        start[name], total = total, total + n
    first: list[Labels] = []
    second: list[Labels] = []
    for role in roles:
        if isinstance(role, Map | Join):
            position = start[role.target]
            for name in role.sources:
                channels = np.arange(graph.channels[name])
                first.append(start[name] + channels)
                second.append(position + channels)
                position += len(channels) if isinstance(role, Join) else 0
    empty = np.zeros(0, dtype=int)
    rows, columns = np.concatenate([*first, empty]), np.concatenate([*second, empty])
    edges = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(total, total))
    labels = connected_components(edges, directed=False)[1] if total else empty
    return {name: labels[start[name] : start[name] + n] for name, n in graph.channels.items()}


def _pin(
    graph: WorkingGraph, roles: Sequence[Role], family: dict[str, Labels], live: Bools
) -> dict[str, tuple[str, set[int]]]:
    """Mark what may not go; by output name of each barrier, why, and the families it holds."""
    outside = (*graph.reserved, *(value.name for value in graph.graph.input))
    for name in outside:
        if name in family:
            live[family[name]] = True
    reasons: dict[str, tuple[str, set[int]]] = {}
    for role in roles:
        if isinstance(role, Barrier):
            held = [family[name] for name in (*role.node.input, *role.node.output) if name in family]
            if held:
                labels = np.unique(np.concatenate(held))
                live[labels] = True
                output = next(name for name in role.node.output if name)
                reasons[output] = (role.reason, set(labels.tolist()))
    return reasons
