"""What one fused node computes: a list of operations over feature maps.

Values are numbered: 0 .. n_inputs - 1 are the data inputs, operation i computes value n_inputs + i. Tensor indices
count all inputs of the operator, data inputs included; `NONE` stands for "none".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

NONE = -1

Pair: TypeAlias = tuple[int, int]  # rows, columns
Pads: TypeAlias = tuple[int, int, int, int]  # top, left, bottom, right


class Activation(IntEnum):
    """What follows an operation. SLOPE: x where x is above zero, else slope * x, with one slope a channel or one."""

    NONE = 0
    RELU = 1
    SLOPE = 2


class Kind(IntEnum):
    """How a convolution is computed; all agree to rounding. The last two make 2x2 and 4x4 outputs at a time."""

    AUTO = 0
    SPARSE = 1
    DENSE = 2
    WINOGRAD2 = 3
    WINOGRAD4 = 4


class Form(IntEnum):
    """How a kernel lies among the operator's inputs, and how many of them it takes."""

    DENSE = 0
    GAP8 = 1
    RICE = 2


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution or transposed convolution over the channels of all sources side by side.

    Attributes:
        sources: value numbers, at least one.
        weight: index of the kernel's first tensor.
        c_in: input channels, all sources together.
        c_out: output channels.
        kernel: its size.
        transposed: whether the kernel is (c_in, c_out, h, w) and widens the grid.
        form: how the kernel lies there.
        kind: how to compute it.
        bias: index of the bias (c_out), or NONE.
        activation: applied last.
        slope: index of the slopes, or NONE; given exactly where the activation is SLOPE.
        residual: value added before the activation, or NONE; of the output's shape.
        strides: steps of the grid.
        dilations: distances of the kernel's taps.
        pads: zeros around the input; for a transposed convolution, what is cut from the output.
        output_padding: rows and columns added below and to the right; transposed convolutions alone.
    """

    sources: tuple[int, ...]
    weight: int
    c_in: int
    c_out: int
    kernel: Pair
    transposed: bool = False
    form: Form = Form.DENSE
    kind: Kind = Kind.AUTO
    bias: int = NONE
    activation: Activation = Activation.NONE
    slope: int = NONE
    residual: int = NONE
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    output_padding: Pair = (0, 0)

    @property
    def reads(self) -> tuple[int, ...]:
        """The values it needs."""
        return self.sources if self.residual == NONE else (*self.sources, self.residual)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The ways in which it can be computed."""
        plain = self.kernel == (3, 3) and self.strides == self.dilations == (1, 1) and not self.transposed
        winograd = (Kind.WINOGRAD2, Kind.WINOGRAD4) if plain else ()
        return (Kind.SPARSE, Kind.DENSE, *winograd)


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """Maximum over windows. Padding counts as zero, so it needs a source that is nowhere negative."""

    source: int
    kernel: Pair
    strides: Pair
    pads: Pads = (0, 0, 0, 0)

    @property
    def reads(self) -> tuple[int, ...]:
        """The values it needs."""
        return (self.source,)


@dataclass(frozen=True, kw_only=True)
class Upsample:
    """Each pixel repeated `factors` times."""

    source: int
    factors: Pair

    @property
    def reads(self) -> tuple[int, ...]:
        """The values it needs."""
        return (self.source,)


@dataclass(frozen=True, kw_only=True)
class Add:
    """The sum of two values of one shape, and an activation of it."""

    first: int
    second: int
    activation: Activation = Activation.NONE
    slope: int = NONE

    @property
    def reads(self) -> tuple[int, ...]:
        """The values it needs."""
        return (self.first, self.second)


@dataclass(frozen=True, kw_only=True)
class Activate:
    """An activation that could not join the operation before it."""

    source: int
    activation: Activation
    slope: int = NONE

    @property
    def reads(self) -> tuple[int, ...]:
        """The values it needs."""
        return (self.source,)


Op: TypeAlias = Convolution | MaxPool | Upsample | Add | Activate


@dataclass(frozen=True, kw_only=True)
class Program:
    """Operations in an order in which they can be computed.

    Attributes:
        n_inputs: data inputs.
        ops: each reads only inputs and values of operations before it.
        outputs: for each output the values whose channels it holds side by side.

    Raises:
        ValueError: when made: an operation reads a value that does not exist before it, or a slope stands without its
            activation.
    """

    n_inputs: int
    ops: tuple[Op, ...]
    outputs: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for number, op in enumerate(self.ops):
            self._require(op.reads, self.n_inputs + number, f"operation {number}")
            if isinstance(op, Convolution | Add | Activate) and (op.slope == NONE) == (op.activation == 2):
                raise ValueError(f"operation {number}: a slope goes with the activation SLOPE and with no other")
        for number, sources in enumerate(self.outputs):
            self._require(sources, self.n_inputs + len(self.ops), f"output {number}")

    @staticmethod
    def _require(reads: Sequence[int], n_values: int, where: str) -> None:
        if not reads or any(not 0 <= value < n_values for value in reads):
            raise ValueError(f"{where} reads {list(reads)}, but there are values 0 to {n_values - 1} before it")

    @property
    def convolutions(self) -> dict[int, Convolution]:
        """The convolutions by their number among the operations."""
        return {number: op for number, op in enumerate(self.ops) if isinstance(op, Convolution)}

    def with_kinds(self, kinds: dict[int, Kind]) -> "Program":
        """The same with other ways to compute some convolutions, named by their operation's number."""
        ops = list(self.ops)
        for number, kind in kinds.items():
            op = ops[number]
            assert isinstance(op, Convolution)
            ops[number] = replace(op, kind=kind)
        return replace(self, ops=tuple(ops))
