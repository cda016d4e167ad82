"""Records of what an ONNX file holds."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from wcr_med.model_metadata import INPUTS, STANDALONE_OUTPUTS

Shape: TypeAlias = tuple[int | None, ...]
"""Axes; `None` for those without a number."""

MAX_KNOWN_VALUES = 64
"""Numbers of a constant that are kept: shapes, sizes and axes have fewer."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A constant, without its values.

    Attributes:
        name: empty for the value of an attribute.
        dims: as declared, none negative.
        data_type: a number of ONNX's TensorProto.DataType.
        held_bytes: of its values in the file.
        external: whether its values lie in another file.
        sparse: whether zeros are left out.
        values: its numbers, where it is of int32, int64 or float32, they are at most `MAX_KNOWN_VALUES`.
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    held_bytes: int
    external: bool
    sparse: bool = False
    values: tuple[float, ...] | None = None

    @property
    def n_elements(self) -> int:
        """As declared."""
        return math.prod(self.dims)


AttributeValue: TypeAlias = "int | float | str | tuple[int, ...] | Tensor | None"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. Attributes of other kinds than integers, a float, a text and a tensor are `None`."""

    domain: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]


@dataclass(kw_only=True)
class ModelContents:
    """What an ONNX file says of itself; nothing of it is checked yet.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        ir_version: of ONNX's file format; 0 where it is not said.
        producer: name of the program that wrote it.
        opsets: domain -> version of its operators; "" is ONNX's own.
        op_types: ("domain", "operator") -> number of nodes.
        nodes: in the file's order. Inner graphs (branches, loop bodies) are counted and not read.
        initializers: named constants, dense and sparse.
        inputs: graph inputs -> shape; `None` where it is not said.
        outputs: names of the graph's outputs.
        metadata: key -> value.
        declared_elements: of all constants, as declared: for sparse ones, the zeros too.
        has_external_data: whether a constant's values lie in another file.
        n_subgraphs: inner graphs of nodes.
        n_functions: functions of the model.
        has_training_info: whether it brings graphs for training.
        sha256: the checksum in the file, which its bytes have; `None` where it holds none.
    """

    path: Path
    size_bytes: int
    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    op_types: Counter[tuple[str, str]] = field(default_factory=Counter)
    nodes: list[Node] = field(default_factory=list)
    initializers: list[Tensor] = field(default_factory=list)
    inputs: dict[str, Shape | None] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    declared_elements: int = 0
    has_external_data: bool = False
    n_subgraphs: int = 0
    n_functions: int = 0
    has_training_info: bool = False
    sha256: str | None = None

    @property
    def domains(self) -> tuple[str, ...]:
        """Of all operators, sorted; "" is ONNX's own."""
        return tuple(sorted({domain for domain, _ in self.op_types}))

    @property
    def n_initializers(self) -> int:
        """Named constants."""
        return len(self.initializers)

    @property
    def is_standalone(self) -> bool:
        """Whether its inputs and outputs are those of `wcr-med export --standalone`."""
        return set(self.inputs) == {INPUTS[0]} and set(self.outputs) == set(STANDALONE_OUTPUTS)
