"""Replace what a program can compute by nodes that hold programs; leave the rest to ONNX Runtime."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper

from wcr_med.export.nodes import reads
from wcr_med.export.partition.emission import Subgraph, emit, sources_of
from wcr_med.export.partition.facts import Facts
from wcr_med.export.partition.grouping import group
from wcr_med.export.partition.lowering import lower
from wcr_med.export.partition.operators import Join, Lowered
from wcr_med.export.passes import remove_unused_initializers
from wcr_med.export.program import Convolution
from wcr_med.native import DOMAIN, OPERATOR

OPERATOR_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Partitioned:
    """A graph with nodes that hold programs. `wcr_med.export.partition.assembly.assemble` makes a model of it.

    Attributes:
        skeleton: the graph; nodes of the operator in it have data inputs and outputs and nothing else yet.
        subgraphs: what they compute, in the order of their first operators.
        refused: first output in use of each operator that stays with ONNX Runtime -> why.
        macs: multiply-adds of all convolutions for one image, zeros counted; `None` where a size is not known.
        macs_inside: those of the subgraphs; `None` with `macs`.
    """

    skeleton: ModelProto
    subgraphs: tuple[Subgraph, ...]
    refused: Mapping[str, str]
    macs: int | None
    macs_inside: int | None

    @property
    def share_of_macs(self) -> float | None:
        """Multiply-adds inside, 0 to 1; 0 without convolutions, `None` where a size is not known."""
        if self.macs is None or self.macs_inside is None:
            return None
        return self.macs_inside / self.macs if self.macs else 0.0


def partition(model: ModelProto) -> Partitioned:
    """Find the largest subgraphs that programs can compute, and make each one node.

    Requires: a model that the checker accepts, its weights float32 initializers, batch norms folded where possible.

    Ensures: the outputs are the same up to rounding; names of the graph's inputs and outputs, metadata and known sizes
    stay; each subgraph is connected, convex, holds a convolution, and no two that touch could be one. Nodes and
    initializers that nothing needs any more are gone.
    """
    work = _Work(model)
    groups = work.groups()
    copies: list[int] = []
    subgraphs = [work.subgraph(f"{DOMAIN}.{number}", nodes, copies) for number, nodes in enumerate(groups)]
    members = {node for nodes in groups for node in nodes}
    macs = work.macs()
    known = None not in macs.values()
    return Partitioned(
        skeleton=work.skeleton(subgraphs, groups, copies),
        subgraphs=tuple(subgraphs),
        refused={name: why for name, why in work.refused.items() if work.producer.get(name) in work.live},
        macs=sum(count or 0 for count in macs.values()) if known else None,
        macs_inside=sum(count or 0 for node, count in macs.items() if node in members) if known else None,
    )


class _Work:
    """One run of `partition`. Nodes are named by their place in the graph."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.facts = Facts(model)
        self.lowered: dict[int, Lowered] = {}
        self.refused: dict[str, str] = {}
        self.live: set[int] = set()
        for index, node in enumerate(self.nodes):
            found = lower(node, self.facts)
            if isinstance(found, Lowered):
                self.lowered[index] = found
            else:
                self.refused[next(filter(None, node.output), "")] = found
        self.producer = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    def needs(self, index: int) -> tuple[str, ...]:
        """What a node reads: for one inside a program its feature maps alone."""
        return self.lowered[index].reads if index in self.lowered else tuple(reads(self.nodes[index]))

    def groups(self) -> list[list[int]]:
        """The nodes of each subgraph. Nodes of other sets count as not lowered from here on."""
        every = range(len(self.nodes))
        edges = [[self.producer[name] for name in self.needs(index) if name in self.producer] for index in every]
        groups = group(edges, [index in self.lowered for index in every])
        while True:  # a set that is given up may need what nothing needed before
            self.live = self._live()
            living = [[index for index in nodes if index in self.live] for nodes in groups]
            groups = [nodes for nodes in living if any(self._is_convolution(index) for index in nodes)]
            kept = {index for nodes in groups for index in nodes}
            given_up = [index for index in self.lowered if index not in kept]
            for index in given_up:
                self.refused[self.lowered.pop(index).writes] = "no convolution is near it"
            if not given_up:
                return groups

    def _is_convolution(self, index: int) -> bool:
        return isinstance(self.lowered[index].template, Convolution)

    def _live(self) -> set[int]:
        pending = [value.name for value in self.model.graph.output]
        live: set[int] = set()
        while pending:
            index = self.producer.get(pending.pop())
            if index is not None and index not in live:
                live.add(index)
                pending.extend(self.needs(index))
        return live

    def subgraph(self, name: str, nodes: list[int], copies: list[int]) -> Subgraph:
        """The subgraph of these nodes.

        A concatenation that others need and that holds an input of the node is made outside too, where it costs no
        conversion; it is added to `copies`.
        """
        inside = {self.lowered[index].writes: self.lowered[index] for index in nodes}
        needed = {value.name for value in self.model.graph.output}
        needed.update(name for index in self.live.difference(nodes) for name in self.needs(index))
        for index in reversed(nodes):
            operator = self.lowered[index]
            sources = sources_of(operator.writes, inside)
            if operator.writes in needed and isinstance(operator.template, Join) and not inside.keys() >= {*sources}:
                copies.append(index)
                needed.remove(operator.writes)
                needed.update(operator.reads)
        operators = _useful([self.lowered[index] for index in nodes], needed)
        return emit(name, operators, [operator.writes for operator in operators if operator.writes in needed])

    def macs(self) -> dict[int, int | None]:
        """Multiply-adds of each convolution that is computed; `None` where its size is not known."""
        found: dict[int, int | None] = {}
        for index in sorted(self.live):
            node = self.nodes[index]
            if node.op_type in ("Conv", "ConvTranspose") and not node.domain:
                grid = self.facts.grids.get(node.output[0] if node.op_type == "Conv" else node.input[0])
                kernel = self.facts.constant(node.input[1])
                rows, columns = (None, None) if grid is None else (grid[2].known, grid[3].known)
                if kernel is None or rows is None or columns is None:
                    found[index] = None
                else:
                    found[index] = kernel.size * rows * columns
        return found

    def skeleton(
        self, subgraphs: Sequence[Subgraph], groups: Sequence[Collection[int]], copies: Sequence[int]
    ) -> ModelProto:
        """The graph with a bare node for each subgraph."""
        members = {index for nodes in groups for index in nodes}
        nodes = {index: self.nodes[index] for index in sorted((self.live - members) | set(copies))}
        for subgraph, places in zip(subgraphs, groups, strict=True):
            node = helper.make_node(OPERATOR, subgraph.inputs, subgraph.outputs, subgraph.name, domain=DOMAIN)
            nodes[len(self.nodes) + min(places)] = node
        model = ModelProto()
        model.CopyFrom(self.model)
        del model.graph.node[:]
        model.graph.node.extend(_in_order(list(nodes.values())))
        if subgraphs:
            model.opset_import.append(helper.make_opsetid(DOMAIN, OPERATOR_VERSION))
        known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
        written = [name for subgraph in subgraphs for name in subgraph.outputs if name not in known]
        model.graph.value_info.extend(self.facts.types[name] for name in written if name in self.facts.types)
        return remove_unused_initializers(model)


def _useful(operators: Sequence[Lowered], needed: Collection[str]) -> list[Lowered]:
    """Those that the needed tensors depend on."""
    wanted, kept = set(needed), []
    for operator in reversed(operators):
        if operator.writes in wanted:
            kept.append(operator)
            wanted.update(operator.reads)
    return kept[::-1]


def _in_order(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes so that each comes after those it reads; otherwise as they stand."""
    producer = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    waits = [{producer[name] for name in reads(node) if name in producer} for node in nodes]
    readers: dict[int, list[int]] = {}
    for place, sources in enumerate(waits):
        for source in sources:
            readers.setdefault(source, []).append(place)
    ready = [place for place, sources in enumerate(waits) if not sources]
    ordered = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(nodes[place])
        for reader in readers.get(place, ()):
            waits[reader].discard(place)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    assert len(ordered) == len(nodes), "subgraphs are convex"
    return ordered
