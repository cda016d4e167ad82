"""Writing a graph as one writes numpy: tensors that add nodes when they are computed with."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Array = npt.NDArray[Any]
Number = int | float
Size = int | str | None  # of an axis: known, named, or neither

_BOOL = np.dtype(np.bool_)


class Tensor:
    """A tensor of a graph that is being written. Arithmetic and comparisons add nodes; numbers take its type.

    Attributes:
        name: in the graph.
        dtype: of its elements.
    """

    def __init__(self, writer: "GraphWriter", name: str, dtype: npt.DTypeLike) -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self._writer = writer

    def __add__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Add", other)

    def __sub__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Sub", other)

    def __rsub__(self, other: Number) -> "Tensor":
        return self._writer.apply("Sub", self._like(other), self)

    def __mul__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Mul", other)

    def __truediv__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Div", other)

    def __rtruediv__(self, other: Number) -> "Tensor":
        return self._writer.apply("Div", self._like(other), self)

    def __neg__(self) -> "Tensor":
        return self._writer.apply("Neg", self)

    def __gt__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Greater", other, dtype=_BOOL)

    def __ge__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("GreaterOrEqual", other, dtype=_BOOL)

    def __lt__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("Less", other, dtype=_BOOL)

    def __le__(self, other: "Tensor | Number") -> "Tensor":
        return self._with("LessOrEqual", other, dtype=_BOOL)

    def __and__(self, other: "Tensor") -> "Tensor":
        return self._with("And", other)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return self._with("MatMul", other)

    def maximum(self, other: "Tensor | Number") -> "Tensor":
        """The larger of both, element by element."""
        return self._with("Max", other)

    def minimum(self, other: "Tensor | Number") -> "Tensor":
        """The smaller of both, element by element."""
        return self._with("Min", other)

    def floor(self) -> "Tensor":
        """Rounded down, of the same type."""
        return self._writer.apply("Floor", self)

    def abs(self) -> "Tensor":
        """The absolute value."""
        return self._writer.apply("Abs", self)

    def sqrt(self) -> "Tensor":
        """The square root."""
        return self._writer.apply("Sqrt", self)

    def to(self, dtype: npt.DTypeLike) -> "Tensor":
        """Cast; fractions are cut off."""
        wanted = np.dtype(dtype)
        return self._writer.apply("Cast", self, dtype=wanted, to=helper.np_dtype_to_tensor_dtype(wanted))

    def where(self, true: "Tensor", false: "Tensor | Number") -> "Tensor":
        """`np.where(self, true, false)`; `self` is bool."""
        other = true._like(false)
        return self._inner(true, other).apply("Where", self, true, other, dtype=true.dtype)

    def sum(self, *axes: int, keepdims: bool = False) -> "Tensor":
        """Sum over axes."""
        return self._writer.apply("ReduceSum", self, self._writer.sizes(*axes), keepdims=int(keepdims))

    def cumsum(self, axis: int) -> "Tensor":
        """Cumulative sum along an axis."""
        return self._writer.apply("CumSum", self, self._writer.constant(np.array(axis, dtype=np.int64)))

    def unsqueeze(self, *axes: int) -> "Tensor":
        """With axes of length one inserted."""
        return self._writer.apply("Unsqueeze", self, self._writer.sizes(*axes))

    def reshape(self, *shape: int) -> "Tensor":
        """Reshaped; -1 stands for what is left."""
        return self._writer.apply("Reshape", self, self._writer.sizes(*shape))

    def transpose(self, *order: int) -> "Tensor":
        """With axes in another order."""
        return self._writer.apply("Transpose", self, perm=list(order))

    def shapes(self) -> "Tensor":
        """The lengths of all axes, int64."""
        return self._writer.apply("Shape", self, dtype=np.int64)

    def shape(self, axis: int) -> "Tensor":
        """The length of one axis, int64, a scalar."""
        shape = self._writer.apply("Shape", self, dtype=np.int64, start=axis, end=axis + 1)
        return self._writer.apply("Squeeze", shape)

    def _with(self, operator: str, other: "Tensor | Number", *, dtype: npt.DTypeLike | None = None) -> "Tensor":
        right = self._like(other)
        return self._inner(right).apply(operator, self, right, dtype=dtype)

    def _inner(self, *others: "Tensor") -> "GraphWriter":
        """The writer of the innermost graph: what a body computes with tensors from outside belongs to the body."""
        return max((tensor._writer for tensor in (self, *others)), key=lambda writer: writer.depth)

    def _like(self, other: "Tensor | Number") -> "Tensor":
        return other if isinstance(other, Tensor) else self._writer.constant(np.array(other, dtype=self.dtype))


class GraphWriter:
    """Collects nodes, and constants that every graph of one model shares.

    Args:
        prefix: begins every name that is made up; begins no name of what else is in the model.
        depth: 0 for the graph of the model, 1 for a body in it.
    """

    def __init__(self, prefix: str, *, depth: int = 0) -> None:
        self.depth = depth
        self.nodes: list[NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}
        self._prefix = prefix
        self._numbers = itertools.count()

    def inner(self) -> "GraphWriter":
        """A writer for the body of a Loop: nodes of its own, the constants and names of this one."""
        body = GraphWriter(self._prefix, depth=self.depth + 1)
        body.constants, body._numbers = self.constants, self._numbers
        return body

    def apply(self, operator: str, *inputs: Tensor, dtype: npt.DTypeLike | None = None, **attributes: Any) -> Tensor:
        """Add a node with one output, of the first input's type unless another is given."""
        return self.apply_all(operator, *inputs, dtypes=[dtype or inputs[0].dtype], **attributes)[0]

    def apply_all(
        self, operator: str, *inputs: Tensor, dtypes: Sequence[npt.DTypeLike], **attributes: Any
    ) -> list[Tensor]:
        """Add a node with an output for each type."""
        outputs = [self.tensor(dtype) for dtype in dtypes]
        names = [tensor.name for tensor in inputs], [tensor.name for tensor in outputs]
        self.nodes.append(helper.make_node(operator, *names, **attributes))
        return outputs

    def tensor(self, dtype: npt.DTypeLike, name: str | None = None) -> Tensor:
        """A tensor that something else makes: an input of the graph, an output of a node that is added elsewhere."""
        return Tensor(self, name or f"{self._prefix}{next(self._numbers)}", dtype)

    def constant(self, values: Array) -> Tensor:
        """A constant, stored once however often it is asked for."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(values, f"{self._prefix}{next(self._numbers)}")
        return Tensor(self, self.constants[key].name, values.dtype)

    def sizes(self, *sizes: int) -> Tensor:
        """A constant vector of int64."""
        return self.constant(np.array(sizes, dtype=np.int64))

    def zeros(self, sizes: Tensor, dtype: npt.DTypeLike) -> Tensor:
        """Zeros of a shape."""
        value = numpy_helper.from_array(np.zeros(1, dtype=dtype))
        return self.apply("ConstantOfShape", sizes, dtype=dtype, value=value)

    def arange(self, n: Tensor | int) -> Tensor:
        """0, 1, ... n - 1 as float64; `n` is an int64 scalar."""
        if isinstance(n, int):
            return self.constant(np.arange(n, dtype=np.float64))
        zero, one = (self.constant(np.array(number, dtype=np.float64)) for number in (0, 1))
        return self.apply("Range", zero, n.to(np.float64), one)

    def loop(
        self,
        sequence: Tensor,
        states: Sequence["State"],
        body: Callable[["GraphWriter", Tensor, list[Tensor]], tuple[list[Tensor], "Results"]],
    ) -> list[Tensor]:
        """Go through a tensor along its first axis, one entry at a time.

        A Loop, since OpenVINO reads no Scan whose body takes tensors from outside.

        Args:
            sequence: what is gone through.
            states: what is carried along, at the start, with its shape.
            body: (writer, entry, states) -> (new states, results of the entry with their shapes).

        Returns:
            The last states, then the results of all entries, stacked along a new first axis.
        """
        writer = self.inner()
        number, go_on = writer.tensor(np.int64), writer.tensor(np.bool_)
        carried = [writer.tensor(state.dtype) for state, _ in states]
        new, results = body(writer, writer.apply("Gather", sequence, number, axis=0), carried)
        shapes = [shape for _, shape in states]
        graph = writer.graph(
            f"{number.name}.body",
            inputs=[(number, ()), (go_on, ()), *zip(carried, shapes, strict=True)],
            outputs=[(writer.apply("Identity", go_on), ()), *zip(new, shapes, strict=True), *results],
        )
        return self.apply_all(
            "Loop",
            sequence.shape(0),
            self.constant(np.array(True)),
            *(state for state, _ in states),
            dtypes=[*(state.dtype for state in new), *(result.dtype for result, _ in results)],
            body=graph,
        )

    def graph(
        self,
        name: str,
        *,
        inputs: Sequence[tuple[Tensor, Sequence[Size]]],
        outputs: Sequence[tuple[Tensor, Sequence[Size]]],
    ) -> GraphProto:
        """The nodes so far as a graph, without the constants."""
        return helper.make_graph(
            self.nodes,
            name,
            [value_info(tensor, shape) for tensor, shape in inputs],
            [value_info(tensor, shape) for tensor, shape in outputs],
        )


State = tuple[Tensor, Sequence[Size]]
Results = list[tuple[Tensor, Sequence[Size]]]


def value_info(tensor: Tensor, shape: Sequence[Size], text: str = "") -> ValueInfoProto:
    """Name, type, shape and description of an input or output of a graph."""
    return helper.make_tensor_value_info(tensor.name, helper.np_dtype_to_tensor_dtype(tensor.dtype), shape, text)
