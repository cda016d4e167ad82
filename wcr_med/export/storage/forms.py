"""The names of the ways a kernel can lie in a file, and the records that say which one was taken."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Form = Literal["dense", "gap8", "sparse_value", "rice"]
"""How positions are written; see `wcr_med.export.storage.positions`."""

Storage = Literal["auto", "dense", "gap8", "sparse_value", "rice"]
"""A form for every kernel, or "auto": of `AUTO_FORMS` what makes the file smaller by `MIN_GAIN_BYTES` at least."""

Values = Literal["fp32", "fp16", "int8"]
"""How values are written; see `wcr_med.export.storage.values`."""

FORMS: tuple[Form, ...] = ("dense", "gap8", "sparse_value", "rice")

AUTO_FORMS: tuple[Form, ...] = ("dense", "gap8", "rice")
"""What "auto" chooses from. Not sparse_value: most programs that read or rewrite ONNX files do not know a Constant with
that attribute and refuse the whole file (`benchmarks/readers.py`), and it saves some hundred bytes a kernel at most."""

MIN_GAIN_BYTES = 1024
"""What "auto" takes a form for at least: by kernel against dense, and by file for each further form in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedKernel:
    """A kernel as the arrays that are to be stored.

    Attributes:
        form: how positions are written.
        arrays: name -> array, in the order in which they are stored. A form has
            dense: `values` (shape of the kernel);
            gap8: `gaps` uint8 (k,), `values` (k,);
            sparse_value: `positions` int64 (k,) ascending, `values` (k,);
            rice: `low` uint8, `high` uint8, `n_low_bits` int64 (1,), `values` (k,).
            Values are float32, float16 or int8; with int8 a last array `scale` float32 (output channels,).
        shape: of the kernel.
    """

    form: Form
    arrays: dict[str, Array]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays' content."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def position_bytes(self) -> int:
        """Bytes of the arrays that say where the values stand; 0 for dense."""
        return sum(array.nbytes for name, array in self.arrays.items() if name not in ("values", "scale"))


@dataclass(frozen=True, kw_only=True)
class TensorStorage:
    """How one kernel is stored.

    Attributes:
        name: of the kernel in the graph.
        shape: of the kernel.
        n: number of weights.
        n_stored: weights whose stored bits are not those of +0.0.
        storage: the form chosen.
        values: type of the values.
        size_bytes: what the kernel takes in the file, its decoder included.
        dense_size_bytes: what it would take dense, in float32.
        position_bytes: of that, what says where the weights stand; 0 for dense.
        position_bound_bytes: the least that can be expected to say so for a tensor with as many non-zeros at random
            places: n times the binary entropy of their share.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    n_stored: int
    storage: Form
    values: Values
    size_bytes: int
    dense_size_bytes: int
    position_bytes: int
    position_bound_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "shape": list(self.shape)}


def entropy_bound_bytes(n: int, n_stored: int) -> float:
    """Number n H(d) / 8 with d = n_stored / n and H the binary entropy in bits; 0 where d is 0 or 1 or n is 0."""
    if not 0 < n_stored < n:
        return 0.0
    share = n_stored / n
    return float(-n * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8)
