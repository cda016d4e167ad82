"""Which way to compute each layer is fastest on this machine, and is the whole then faster than ONNX Runtime alone?"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, checker

from wcr_med.export.partition import KernelEncoder, Partitioned, assemble, partition, profile_output, smallest
from wcr_med.export.program import Kind
from wcr_med.export.sessions import open_session
from wcr_med.export.storage import EncodedKernel, encode_kernel
from wcr_med.timing import RUNS_IN_A_TURN, SpeedRatio, speed_ratio, time_in_turn

Array = npt.NDArray[Any]
Feed = Mapping[str, Array]
_Layer = tuple[str, int]  # name of the node, number of the operation

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """How one convolution is computed.

    Attributes:
        name: of its kernel.
        shape: of its kernel.
        density: share of weights that are not zero, 0 to 1.
        kind: the way chosen.
        milliseconds: median time of each way that is possible.
    """

    name: str
    shape: tuple[int, ...]
    density: float
    kind: Kind
    milliseconds: Mapping[Kind, float]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        times = {kind.name.lower(): value for kind, value in self.milliseconds.items()}
        return {
            "name": self.name,
            "shape": list(self.shape),
            "density": self.density,
            "kind": self.kind.name.lower(),
            "milliseconds": times,
        }


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """What was measured and decided.

    Attributes:
        model: the accelerated model, or `None` where the dense one is as fast.
        why_not: where there is no model, the reason.
        n_nodes: nodes of the operator in the graph that was tried.
        n_operations: operations inside them.
        share_of_macs: multiply-adds inside, zeros counted; `None` where sizes are not known.
        layers: a row a convolution inside, in graph order.
        dense_ms: median time of the dense model by ONNX Runtime alone; `None` where nothing was measured.
        accelerated_ms: median time of the model that was tried; `None` likewise.
        speed: how many times as fast the model that was tried is, over the turns; `None` likewise.
        threads: processor threads of both.
        rounds: how many times each was run.
    """

    model: ModelProto | None
    why_not: str | None
    n_nodes: int
    n_operations: int
    share_of_macs: float | None
    layers: tuple[LayerChoice, ...]
    dense_ms: float | None
    accelerated_ms: float | None
    speed: SpeedRatio | None
    threads: int
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, without the model."""
        return {
            "accelerated": self.model is not None,
            "why_not": self.why_not,
            "n_nodes": self.n_nodes,
            "n_operations": self.n_operations,
            "share_of_macs": self.share_of_macs,
            "dense_ms": self.dense_ms,
            "accelerated_ms": self.accelerated_ms,
            "speedup": self.speed.to_dict() if self.speed is not None else None,
            "threads": self.threads,
            "rounds": self.rounds,
            "layers": [layer.to_dict() for layer in self.layers],
        }


def accelerate(
    dense: ModelProto, feed: Feed, *, encode: KernelEncoder = smallest, threads: int = 1, rounds: int = 9
) -> Acceleration:
    """Find the fastest model for this machine that holds fused nodes, if it is faster than the dense one.

    Every convolution is timed in each way that is possible, all in turn, and takes the one with the smallest median.
    The whole model is then timed against the dense one, in turn again, a few runs at a time; where it is not faster in
    half of the turns, there is none.

    Args:
        dense: the graph with float32 kernels as initializers, batch norms folded. Left alone.
        feed: sample inputs of the size that matters; best of a real image, since zeros are no slower here but denormal
            numbers may be elsewhere.
        encode: how to store kernels.
        threads: processor threads.
        rounds: how often each layer is run, after a first time that does not count; for the whole model the turns.
    """
    partitioned = partition(dense)
    if not partitioned.subgraphs:
        return _report(partitioned, why_not="the graph holds no convolution that can be fused", threads=threads)
    layer_times = _layer_times(partitioned, feed, threads=threads, rounds=rounds)
    kinds = {layer: min(found, key=lambda kind: found[kind]) for layer, found in layer_times.items()}
    model = assemble(partitioned, kinds=kinds, encode=encode)
    checker.check_model(model)
    _LOG.info("accelerate: comparing with the dense network")
    both = [open_session(candidate, threads=threads) for candidate in (dense, model)]
    runs = {name: partial(session.run, None, feed) for name, session in zip(("dense", "tried"), both, strict=True)}
    times = time_in_turn(runs, rounds * RUNS_IN_A_TURN)
    speed = speed_ratio(times["dense"], times["tried"])
    faster = speed.median > 1
    return _report(
        partitioned,
        model=model if faster else None,
        why_not=None if faster else "ONNX Runtime alone is as fast on this machine",
        times=layer_times,
        dense_ms=statistics.median(times["dense"]),
        accelerated_ms=statistics.median(times["tried"]),
        speed=speed,
        threads=threads,
        rounds=rounds,
    )


def interleaved(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each function, all called in turn, so that what slows the machine slows all of them."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            if number:  # the first time warms up
                found.append(1000 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def _layer_times(partitioned: Partitioned, feed: Feed, *, threads: int, rounds: int) -> dict[_Layer, dict[Kind, float]]:
    """Median milliseconds of each convolution in each way that it can be computed."""
    possible = {
        (subgraph.name, number): op.kinds
        for subgraph in partitioned.subgraphs
        for number, op in subgraph.program.convolutions.items()
    }
    wanted = [kind for kind in Kind if any(kind in kinds for kinds in possible.values())]
    outputs = {subgraph.name: profile_output(subgraph) for subgraph in partitioned.subgraphs}
    _LOG.info(
        "accelerate: timing %d layers, each %s, %d rounds",
        len(possible),
        ", ".join(kind.name.lower() for kind in wanted),
        rounds,
    )
    sessions = {}
    for kind in wanted:
        kinds = {layer: kind if kind in allowed else allowed[0] for layer, allowed in possible.items()}
        sessions[kind] = open_session(
            assemble(partitioned, kinds=kinds, encode=_as_it_is, profile=True), threads=threads
        )
    found: dict[_Layer, dict[Kind, list[float]]] = {
        layer: {kind: [] for kind in allowed} for layer, allowed in possible.items()
    }
    for number in range(rounds + 1):
        for kind, session in sessions.items():
            by_node = dict(zip(outputs, session.run(list(outputs.values()), feed), strict=True))
            for (node, operation), times in found.items():
                if number and kind in times:
                    times[kind].append(float(by_node[node][operation]))
    return {
        layer: {kind: statistics.median(values) for kind, values in times.items()} for layer, times in found.items()
    }


def _as_it_is(kernel: Array, _scale_axis: int) -> EncodedKernel:
    return encode_kernel(kernel, storage="dense")  # the operator packs kernels alike, whatever they came as


def _report(
    partitioned: Partitioned,
    *,
    threads: int,
    model: ModelProto | None = None,
    why_not: str | None = None,
    times: Mapping[_Layer, Mapping[Kind, float]] | None = None,
    dense_ms: float | None = None,
    accelerated_ms: float | None = None,
    speed: SpeedRatio | None = None,
    rounds: int = 0,
) -> Acceleration:
    layers = []
    for subgraph in partitioned.subgraphs:
        for number, op in subgraph.program.convolutions.items():
            name, kernel = subgraph.constant(op.weight)
            found = (times or {})[subgraph.name, number]
            layers.append(
                LayerChoice(
                    name=name,
                    shape=kernel.shape,
                    density=float(np.count_nonzero(kernel)) / kernel.size,
                    kind=min(found, key=lambda kind: found[kind]),
                    milliseconds=found,
                )
            )
    return Acceleration(
        model=model,
        why_not=why_not,
        n_nodes=len(partitioned.subgraphs),
        n_operations=sum(len(subgraph.program.ops) for subgraph in partitioned.subgraphs),
        share_of_macs=partitioned.share_of_macs,
        layers=tuple(layers),
        dense_ms=dense_ms,
        accelerated_ms=accelerated_ms,
        speed=speed,
        threads=threads,
        rounds=rounds,
    )
