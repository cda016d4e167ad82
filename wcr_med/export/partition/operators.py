"""What an operator of a graph is inside a program."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from wcr_med.export.partition.facts import Facts
from wcr_med.export.partition.sizes import Grid
from wcr_med.export.program import Activate, Add, Convolution, MaxPool, Upsample

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Join:
    """Channels of the tensors read, side by side; nothing is computed."""


Template: TypeAlias = Convolution | MaxPool | Upsample | Add | Activate | Join


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """An operator that a program can hold.

    Attributes:
        template: what to do; its values and tensor indices are not set.
        reads: the feature maps it needs.
        writes: the one tensor it makes.
        grid: that tensor's size.
        kernel, bias, slope: name and values of its constants; `None` for none.
    """

    template: Template
    reads: tuple[str, ...]
    writes: str
    grid: Grid
    kernel: tuple[str, Array] | None = None
    bias: tuple[str, Array] | None = None
    slope: tuple[str, Array] | None = None


class RefusalError(Exception):
    """Why an operator stays with ONNX Runtime."""


def feature_map(name: str, facts: Facts) -> Grid:
    """Size of the float32 feature map called `name`; raises RefusalError if it is none."""
    if facts.is_constant(name):
        raise RefusalError("it reads a constant as a feature map")
    if name not in facts.grids:
        raise RefusalError("its input is not known to be a float32 feature map of rank 4")
    return facts.grids[name]


def passing_on(lowered: Lowered, facts: Facts) -> Lowered:
    """Sign and division of the channels follow from what is read."""
    if all(name in facts.not_negative for name in lowered.reads):
        facts.not_negative.add(lowered.writes)
    if any(name in facts.joined for name in lowered.reads):
        facts.joined.add(lowered.writes)
    return lowered
