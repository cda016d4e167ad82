"""From operators of a graph to the program of one node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from wcr_med.export.partition.fusion import fuse
from wcr_med.export.partition.operators import Join, Lowered
from wcr_med.export.program import NONE, Activate, Add, Convolution, MaxPool, Op, Program, Upsample

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Subgraph:
    """What one node computes.

    Attributes:
        name: of the node.
        inputs: tensors of the graph that it takes.
        outputs: tensors of the graph that it makes.
        program: its operations. Tensor index n_inputs + i is entry i of `constants`; every kernel is dense there.
        constants: name and values of kernels, biases and slopes, float32.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    program: Program
    constants: tuple[tuple[str, Array], ...]

    def constant(self, index: int) -> tuple[str, Array]:
        """Name and values of the constant at a tensor index of the program."""
        return self.constants[index - len(self.inputs)]


def emit(name: str, operators: Sequence[Lowered], outputs: Sequence[str]) -> Subgraph:
    """The subgraph of these operators.

    Args:
        name: of the node.
        operators: in an order in which they can be computed.
        outputs: which of the tensors that they write are needed elsewhere; none may hold a channel of an input as it
            came.
    """
    written = {operator.writes for operator in operators}
    read = dict.fromkeys(tensor for operator in operators for tensor in operator.reads)
    inputs = tuple(tensor for tensor in read if tensor not in written)
    emitter = _Emitter(inputs)
    for operator in operators:
        emitter.add(operator)
    program = Program(
        n_inputs=len(inputs), ops=tuple(emitter.ops), outputs=tuple(emitter.values[tensor] for tensor in outputs)
    )
    return Subgraph(
        name=name,
        inputs=inputs,
        outputs=tuple(outputs),
        program=fuse(program),
        constants=tuple(emitter.constants.items()),
    )


def sources_of(tensor: str, operators: Mapping[str, Lowered]) -> tuple[str, ...]:
    """The tensors whose channels a tensor holds side by side, after all joins of `operators` (by what they write)."""
    operator = operators.get(tensor)
    if operator is None or not isinstance(operator.template, Join):
        return (tensor,)
    return tuple(source for read in operator.reads for source in sources_of(read, operators))


class _Emitter:
    def __init__(self, inputs: tuple[str, ...]) -> None:
        self.n_inputs = len(inputs)
        self.ops: list[Op] = []
        self.constants: dict[str, Array] = {}
        self.values: dict[str, tuple[int, ...]] = {tensor: (number,) for number, tensor in enumerate(inputs)}

    def add(self, operator: Lowered) -> None:
        parts = [self.values[tensor] for tensor in operator.reads]
        together = tuple(value for values in parts for value in values)
        values: tuple[int, ...]
        match operator.template:
            case Join():
                values = together
            case Convolution() as template:
                weight, bias = self._tensor(operator.kernel), self._tensor(operator.bias)
                values = (self._append(replace(template, sources=together, weight=weight, bias=bias)),)
            case Add() as template:
                first, second = together  # lowering refuses terms of several values
                values = (self._append(replace(template, first=first, second=second)),)
            case Activate() as template:
                slope = self._tensor(operator.slope)
                values = tuple(self._append(replace(template, source=value, slope=slope)) for value in together)
            case MaxPool() | Upsample() as template:
                values = tuple(self._append(replace(template, source=value)) for value in together)
        self.values[operator.writes] = values

    def _append(self, op: Op) -> int:
        self.ops.append(op)
        return self.n_inputs + len(self.ops) - 1

    def _tensor(self, constant: tuple[str, Array] | None) -> int:
        if constant is None:
            return NONE
        self.constants.setdefault(*constant)
        return self.n_inputs + list(self.constants).index(constant[0])
