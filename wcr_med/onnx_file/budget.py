"""How much memory a network needs, told before a byte of it is asked for.

A kilobyte can describe a tensor of gigabytes: a sparse constant, a fill, a repetition, a sum of a row and a column.
ONNX Runtime computes what depends on constants alone while it loads a file, so such a file would fill the memory before
it has seen an image. Here only sizes are computed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wcr_med import native
from wcr_med.onnx_file.contents import ModelContents, Node, Shape, Tensor
from wcr_med.onnx_file.shapes import RULES, Call, Dims, UnknownSizeError, result_values
from wcr_med.onnx_file.types import bytes_of_type, result_bytes

MAX_TENSOR_ELEMENTS = 2**27
"""Of one constant or of what follows from constants: 512 MB as float32."""

MAX_CONSTANT_BYTES = 2**30
"""Of all of those together, in any file. A kernel that is stored sparse counts five to six times, for the steps of its
decoding: ONNX Runtime keeps them until the last kernel is done. Loading networks of 30 to 70 million weights took 0.8
to 1.3 times what is counted, and 1.9 times where all is dense: it keeps a copy of kernels in an order of its own."""

MAX_CONSTANT_BYTES_OF_LARGE_FILES = 2**31
"""The same where the file holds enough for it to be weights; see `constant_limit`."""

_BYTES_A_FILE_BYTE = 256  # kernels with one weight in a hundred make as many while they are decoded

MAX_LIVE_ELEMENTS = 2**29
"""That a slice needs at the same time on its way through the network: 2 GB as float32."""

MAX_AXES = 16
"""Of a value: each operator may add axes of size 1 to those it takes."""

MAX_MULTIPLICATIONS = 2**32
"""In products of constants, while loading."""


class TooLargeError(Exception):
    """The network needs more than the limits. Says what, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a network takes.

    Attributes:
        constant_bytes: of all constants and of what follows from them, by upper bounds.
        live_elements: the most that a slice needs at the same time; what comes out of fused networks is not counted.
    """

    constant_bytes: int
    live_elements: int


def constant_limit(size_bytes: int) -> int:
    """How many bytes constants may take in a file of that size: a small file cannot ask for more than it could need."""
    return max(MAX_CONSTANT_BYTES, min(_BYTES_A_FILE_BYTE * size_bytes, MAX_CONSTANT_BYTES_OF_LARGE_FILES))


def needs(contents: ModelContents, inputs: Mapping[str, Shape | None]) -> Needs:
    """How much memory a network needs for one slice.

    Args:
        contents: of the file. Operators are all known (`RULES`).
        inputs: shape of each graph input; one without a number counts as 1 if it is the first axis (slices), and
            makes the sizes of what follows unknown otherwise.

    Raises:
        TooLargeError: more than a limit of this module, or how much cannot be told.
    """
    walk = _Walk(constant_limit(contents.size_bytes))
    for tensor in contents.initializers:
        walk.hold(tensor.name, tensor)
    for name, shape in inputs.items():
        if name not in walk.constants:
            walk.shapes[name] = _of_one_slice(shape)
    live = most = sum(walk.n_elements(name) for name in inputs if name not in walk.constants)
    last_use = {name: place for place, node in enumerate(contents.nodes) for name in node.inputs}
    for place, node in enumerate(contents.nodes):
        live += walk.run(node)
        most = max(most, live)
        for name in {*node.inputs, *node.outputs}:
            if name not in walk.constants and last_use.get(name, place) == place:
                live -= walk.n_elements(name)
        if most > MAX_LIVE_ELEMENTS:
            raise TooLargeError(f"{node.op_type} {_shown(node)} makes a slice need {most} numbers at the same time")
    return Needs(constant_bytes=walk.constant_bytes, live_elements=most)


class _Walk:
    """The sizes of all values, node after node."""

    def __init__(self, most_constant_bytes: int) -> None:
        self.shapes: dict[str, Dims | None] = {}
        self.values: dict[str, tuple[float, ...] | None] = {}
        self.constants: set[str] = set()
        self.widths: dict[str, int] = {}  # bytes a number, of constants alone
        self.most_constant_bytes = most_constant_bytes
        self.constant_bytes = 0
        self.multiplications = 0

    def n_elements(self, name: str) -> int:
        shape = self.shapes.get(name)
        return 0 if shape is None else math.prod(shape)

    def hold(self, name: str, tensor: Tensor) -> None:
        self.values[name] = tensor.values
        self._constant(name, tensor.dims, bytes_of_type(tensor.data_type), times=2 if tensor.sparse else 1)

    def run(self, node: Node) -> int:
        """Place a node's results; how many numbers of them depend on the image."""
        wanted = [name for name in node.inputs if name]
        shape = self._shape(node, wanted)
        of_constants = all(name in self.constants for name in wanted) and node.domain != native.DOMAIN
        outputs = [name for name in node.outputs if name]
        if of_constants and shape is None:
            raise TooLargeError(f"{node.op_type} {_shown(node)} makes constants of a size that cannot be told")
        if node.domain == native.DOMAIN and all(name in self.constants for name in wanted):
            raise TooLargeError(f"{node.op_type} {_shown(node)} takes constants alone, and would run while loading")
        for name in outputs:
            if of_constants and shape is not None:
                width = result_bytes(node, [self.widths.get(wish, 0) for wish in node.inputs])
                self._constant(name, shape, width, times=2 if _holds_sparse(node) else 1)
            else:
                self.shapes[name] = shape
        if shape is not None and of_constants and node.op_type in ("MatMul", "Gemm", "MatMulInteger"):
            self._multiply(node, shape)
        return 0 if of_constants or shape is None else math.prod(shape) * len(outputs)

    def _shape(self, node: Node, wanted: list[str]) -> Dims | None:
        """Of each result; `None` where it follows from a fused network, whose operator has limits of its own."""
        unplaced = [name for name in wanted if name not in self.shapes]
        if unplaced:
            raise TooLargeError(f"{node.op_type} {_shown(node)} takes {unplaced[0][:60]!r}, which nothing makes")
        if node.domain == native.DOMAIN or any(self.shapes[name] is None for name in wanted):
            return None
        shapes = [self.shapes[name] if name else None for name in node.inputs]
        values = [self.values.get(name) if name else None for name in node.inputs]
        try:
            call = Call(node=node, shapes=shapes, values=values)
            shape = RULES[node.op_type](call)
            found = result_values(call)
        except UnknownSizeError as error:
            raise TooLargeError(f"the size of {node.op_type} {_shown(node)} cannot be told: {error}") from None
        if len(shape) > MAX_AXES or any(size > MAX_LIVE_ELEMENTS for size in shape):
            raise TooLargeError(f"{node.op_type} {_shown(node)} makes {len(shape)} axes, of up to {_count(max(shape))}")
        for name in node.outputs[:1]:
            self.values[name] = found
        return shape

    def _constant(self, name: str, shape: Dims, width: int, *, times: int = 1) -> None:
        """Count a constant, `times` over: ONNX Runtime keeps a sparse one twice, once with its zeros."""
        n_elements = math.prod(shape)
        self.constant_bytes += n_elements * width * times
        if max((n_elements, *shape)) > MAX_TENSOR_ELEMENTS or self.constant_bytes > self.most_constant_bytes:
            raise TooLargeError(
                f"the constant {name[:60]!r} has {_count(n_elements)} numbers, of at most {MAX_TENSOR_ELEMENTS}, and "
                f"all so far take {_count(self.constant_bytes)} bytes, of at most {self.most_constant_bytes}"
            )
        self.shapes[name] = shape
        self.widths[name] = width
        self.constants.add(name)

    def _multiply(self, node: Node, shape: Dims) -> None:
        left = self.shapes[node.inputs[0]] or (1,)
        self.multiplications += math.prod(shape) * max(left[-1], left[0] if node.op_type == "Gemm" else 1)
        if self.multiplications > MAX_MULTIPLICATIONS:
            raise TooLargeError(f"constants are multiplied {_count(self.multiplications)} times while loading")


def _holds_sparse(node: Node) -> bool:
    return any(isinstance(value, Tensor) and value.sparse for value in node.attributes.values())


def _of_one_slice(shape: Shape | None) -> Dims | None:
    if shape is None:
        return None
    sizes = tuple(1 if size is None and place == 0 else size for place, size in enumerate(shape))
    known = tuple(size for size in sizes if size is not None and size >= 0)
    return known if len(known) == len(sizes) <= MAX_AXES else None


def _shown(node: Node) -> str:
    return repr(next(iter(node.outputs), "")[:60])


def _count(number: int) -> str:
    return str(number) if number < 10**15 else f"{number:.0e}" if number < 10**300 else "countless"
