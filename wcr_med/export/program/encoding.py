"""Programs as integers: the attribute `program` of the operator, which `native/src/parse.cpp` reads."""

from collections.abc import Sequence

from wcr_med.export.program.operations import (
    Activate,
    Activation,
    Add,
    Convolution,
    Form,
    Kind,
    MaxPool,
    Op,
    Pads,
    Program,
    Upsample,
)

VERSION = 1


def encode_program(program: Program) -> list[int]:
    """The integers that stand for a program; `native/src/program.h` says which."""
    numbers = [VERSION, len(program.ops)]
    for op in program.ops:
        opcode, fields = _fields(op)
        numbers += [opcode, len(fields), *fields]
    numbers.append(len(program.outputs))
    for sources in program.outputs:
        numbers += [len(sources), *sources]
    return numbers


def decode_program(numbers: Sequence[int], n_inputs: int) -> Program:
    """The program that `encode_program` gave these integers for.

    Args:
        numbers: the integers.
        n_inputs: data inputs of the operator.

    Raises:
        ValueError: they are no program: another version, an unknown opcode, too few or too many numbers, or what
            making a program raises.
    """
    reader = _Reader(numbers)
    version = reader.next()
    if version != VERSION:
        raise ValueError(f"program of version {version}, not {VERSION}")
    ops = []
    for _ in range(reader.next()):
        opcode = reader.next()
        ops.append(_op(opcode, reader.take(reader.next())))
    outputs = tuple(tuple(reader.take(reader.next())) for _ in range(reader.next()))
    if reader.rest:
        raise ValueError(f"{reader.rest} numbers after the end of the program")
    return Program(n_inputs=n_inputs, ops=tuple(ops), outputs=outputs)


class _Reader:
    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._at = 0

    @property
    def rest(self) -> int:
        return len(self._numbers) - self._at

    def next(self) -> int:
        return self.take(1)[0]

    def take(self, n: int) -> list[int]:
        if not 0 <= n <= self.rest:
            raise ValueError(f"program ends early: {n} numbers wanted, {self.rest} left")
        self._at += n
        return list(self._numbers[self._at - n : self._at])


def _fields(op: Op) -> tuple[int, list[int]]:
    match op:
        case Convolution():
            fields = [op.form, op.kind, op.weight, op.bias, op.activation, op.slope, op.residual, op.c_in, op.c_out]
            geometry = [*op.kernel, *op.strides, *op.dilations, *op.pads, *op.output_padding]
            numbers = [*fields, *geometry, len(op.sources), *op.sources]
            return (2 if op.transposed else 1), [int(number) for number in numbers]
        case MaxPool():
            return 3, [op.source, *op.kernel, *op.strides, *op.pads]
        case Upsample():
            return 4, [op.source, *op.factors]
        case Add():
            return 5, [op.first, op.second, int(op.activation), op.slope]
        case Activate():
            return 6, [op.source, int(op.activation), op.slope]


_N_FIELDS = {3: 9, 4: 3, 5: 4, 6: 3}
_N_FIXED = 22  # fields of a convolution before its sources


def _op(opcode: int, fields: list[int]) -> Op:
    if opcode in (1, 2):
        return _convolution(fields, transposed=opcode == 2)
    if opcode not in _N_FIELDS:
        raise ValueError(f"unknown opcode {opcode}")
    if len(fields) != _N_FIELDS[opcode]:
        raise ValueError(f"opcode {opcode} has {len(fields)} fields, not {_N_FIELDS[opcode]}")
    if opcode == 3:
        source, k_h, k_w, s_h, s_w, *pads = fields
        return MaxPool(source=source, kernel=(k_h, k_w), strides=(s_h, s_w), pads=_pads(pads))
    if opcode == 4:
        return Upsample(source=fields[0], factors=(fields[1], fields[2]))
    if opcode == 5:
        return Add(first=fields[0], second=fields[1], activation=Activation(fields[2]), slope=fields[3])
    return Activate(source=fields[0], activation=Activation(fields[1]), slope=fields[2])


def _convolution(fields: list[int], *, transposed: bool) -> Convolution:
    if len(fields) < _N_FIXED or len(fields) != _N_FIXED + fields[_N_FIXED - 1]:
        raise ValueError(f"a convolution of {len(fields)} fields does not fit its number of sources")
    form, kind, weight, bias, activation, slope, residual, c_in, c_out, *geometry = fields
    return Convolution(
        sources=tuple(fields[_N_FIXED:]),
        weight=weight,
        c_in=c_in,
        c_out=c_out,
        kernel=(geometry[0], geometry[1]),
        transposed=transposed,
        form=Form(form),
        kind=Kind(kind),
        bias=bias,
        activation=Activation(activation),
        slope=slope,
        residual=residual,
        strides=(geometry[2], geometry[3]),
        dilations=(geometry[4], geometry[5]),
        pads=_pads(geometry[6:10]),
        output_padding=(geometry[10], geometry[11]),
    )


def _pads(fields: Sequence[int]) -> Pads:
    top, left, bottom, right = fields
    return top, left, bottom, right
