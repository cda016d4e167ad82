"""Fewer operations for the same program: additions and activations join the operation before them."""

from collections import Counter
from dataclasses import replace

from wcr_med.export.program import NONE, Activate, Activation, Add, Convolution, MaxPool, Op, Program, Upsample


def fuse(program: Program) -> Program:
    """Join what can be computed while a value is written.

    An addition joins a convolution whose result nothing else reads and that has no activation and no other residual;
    where both terms qualify, the later one. An activation joins a convolution or addition without one whose result
    nothing else reads.

    Ensures: the outputs are the same; convolutions keep their order among themselves or come later.
    """
    reads = Counter(value for op in program.ops for value in op.reads)
    reads.update(value for sources in program.outputs for value in sources)
    slots: dict[int, Op] = {}  # by the number of the value that each computes; ascending
    for value, op in enumerate(program.ops, start=program.n_inputs):
        joined: Op | None = None
        if isinstance(op, Add):
            joined = _join_add(op, slots, reads)
        elif isinstance(op, Activate) and reads[op.source] == 1:
            before = slots.get(op.source)
            if isinstance(before, Convolution | Add) and before.activation == Activation.NONE:
                del slots[op.source]
                joined = replace(before, activation=op.activation, slope=op.slope)
        slots[value] = joined or op
    return _renumbered(program, slots)


def _join_add(op: Add, slots: dict[int, Op], reads: Counter[int]) -> Op | None:
    for here, other in sorted([(op.first, op.second), (op.second, op.first)], reverse=True):
        before = slots.get(here)
        if (
            reads[here] == 1
            and isinstance(before, Convolution)
            and before.activation == Activation.NONE
            and before.residual == NONE
        ):
            del slots[here]
            return replace(before, residual=other, activation=op.activation, slope=op.slope)
    return None


def _renumbered(program: Program, slots: dict[int, Op]) -> Program:
    number = {value: value for value in range(program.n_inputs)}
    number |= {value: program.n_inputs + place for place, value in enumerate(slots)}
    return Program(
        n_inputs=program.n_inputs,
        ops=tuple(_moved(op, number) for op in slots.values()),
        outputs=tuple(tuple(number[value] for value in sources) for sources in program.outputs),
    )


def _moved(op: Op, number: dict[int, int]) -> Op:
    match op:
        case Convolution():
            residual = op.residual if op.residual == NONE else number[op.residual]
            return replace(op, sources=tuple(number[value] for value in op.sources), residual=residual)
        case Add():
            return replace(op, first=number[op.first], second=number[op.second])
        case MaxPool():
            return replace(op, source=number[op.source])
        case Upsample():
            return replace(op, source=number[op.source])
        case Activate():
            return replace(op, source=number[op.source])
