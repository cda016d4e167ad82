"""The kernels in a model file, one row each: a second JSON document, written by `export` and read by `runtime`.

It stands beside that of `wcr_med.model_metadata`, and files without it are valid. Standard library only.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from wcr_med.errors import UserError

LAYERS_KEY = "wcr_med.layers"
"""The document's key among the metadata of an ONNX file."""

_MOST_ROWS = 100_000
_FIELDS = {"name": str, "shape": list, "n_nonzero": int, "storage": str, "values": str, "size_bytes": int}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kernel as it lies in the file: batch norm folded into it, channels without effect removed.

    Attributes:
        name: of the kernel in the graph.
        shape: of the kernel.
        n_nonzero: weights that are stored; all others are zero.
        storage: how their places are told: "dense" or the name of a sparse form.
        values: their type: "fp32", "fp16" or "int8".
        size_bytes: what the kernel takes in the file; its decoder included where the graph holds one.
    """

    name: str
    shape: tuple[int, ...]
    n_nonzero: int
    storage: str
    values: str
    size_bytes: int

    @property
    def n(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0 to 1; 0 for an empty kernel."""
        return 1 - self.n_nonzero / self.n if self.n else 0.0


def layers_to_json(layers: Iterable[Layer]) -> str:
    """One line of JSON: a list of objects."""
    return json.dumps([asdict(layer) for layer in layers], ensure_ascii=False, separators=(",", ":"))


def layers_from_json(text: str, *, source: str) -> tuple[Layer, ...]:
    """Read what `layers_to_json` wrote.

    Args:
        text: the document.
        source: the file, for messages.

    Raises:
        UserError: not JSON, or a row is not one of ours.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or len(rows) > _MOST_ROWS or not all(map(_is_valid, rows)):
        raise UserError(f"{source}: its table of layers is damaged; export the network again")
    return tuple(Layer(**{**row, "shape": tuple(row["shape"])}) for row in rows)


def _is_valid(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != set(_FIELDS):
        return False
    # type(), since a bool is an int to isinstance
    if any(type(row[name]) is not kind for name, kind in _FIELDS.items()):
        return False
    sizes = row["shape"]
    if len(sizes) > 8 or any(type(size) is not int or not 0 <= size < 1 << 31 for size in sizes):
        return False
    return bool(0 <= row["n_nonzero"] <= math.prod(sizes) and row["size_bytes"] >= 0)
