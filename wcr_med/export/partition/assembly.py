"""A model that can be run, from a partitioned graph: kernels in the forms they are stored in, kinds chosen."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wcr_med.export.nodes import free_name
from wcr_med.export.partition.emission import Subgraph
from wcr_med.export.partition.graph import Partitioned
from wcr_med.export.program import NONE, Activate, Add, Convolution, Form, Kind, Op, encode_program
from wcr_med.export.storage import EncodedKernel, encode_kernel
from wcr_med.native import DOMAIN

Array = npt.NDArray[Any]


KernelEncoder: TypeAlias = Callable[[Array, int], EncodedKernel]
"""A kernel (4 axes, float32) and the axis of its output channels -> one of the forms that the operator reads."""

Kinds: TypeAlias = Mapping[tuple[str, int], Kind]
"""Node's name and number of a convolution among its operations -> how to compute it."""


def smallest(kernel: Array, scale_axis: int) -> EncodedKernel:
    """The lossless form that takes the fewest bytes."""
    return encode_kernel(kernel, scale_axis=scale_axis)


def assemble(
    partitioned: Partitioned,
    *,
    kinds: Kinds | None = None,
    encode: KernelEncoder = smallest,
    profile: bool = False,
) -> ModelProto:
    """The graph with its programs and constants, to run where the operator is registered.

    Args:
        partitioned: left alone.
        kinds: how to compute convolutions; AUTO for those not named.
        encode: how to store kernels; called once for each.
        profile: give each node one more output, which is an output of the graph called by `profile_output`: float32
            milliseconds for each of its operations.
    """
    model = ModelProto()
    model.CopyFrom(partitioned.skeleton)
    constants = _Constants(model, encode)
    nodes = {node.name: node for node in model.graph.node if node.domain == DOMAIN}
    for subgraph in partitioned.subgraphs:
        chosen = {number: kind for (name, number), kind in (kinds or {}).items() if name == subgraph.name}
        names = list(subgraph.inputs)
        ops = [_stored(op, subgraph, constants, names) for op in subgraph.program.with_kinds(chosen).ops]
        program = replace(subgraph.program, ops=tuple(ops))
        node = nodes[subgraph.name]
        node.input.extend(names[len(subgraph.inputs) :])
        fields = {"inputs": len(subgraph.inputs), "program": encode_program(program), "profile": int(profile)}
        node.attribute.extend(helper.make_attribute(name, value) for name, value in fields.items())
        if profile:
            node.output.append(profile_output(subgraph))
            times = helper.make_tensor_value_info(node.output[-1], TensorProto.FLOAT, [len(ops)])
            model.graph.output.append(times)
    return model


def profile_output(subgraph: Subgraph) -> str:
    """Name of the output with a node's times."""
    return f"{subgraph.name}.milliseconds"


def _stored(op: Op, subgraph: Subgraph, constants: "_Constants", names: list[str]) -> Op:
    """The operation with its constants among the node's inputs, whose `names` grow."""

    def place(index: int) -> int:
        return index if index == NONE else _place(names, [constants.plain(*subgraph.constant(index))])

    if isinstance(op, Convolution):
        form, kernel_names = constants.kernel(*subgraph.constant(op.weight), op.transposed)
        weight = _place(names, kernel_names)
        return replace(op, form=form, weight=weight, bias=place(op.bias), slope=place(op.slope))
    return replace(op, slope=place(op.slope)) if isinstance(op, Add | Activate) else op


def _place(names: list[str], wanted: list[str]) -> int:
    """Where these names stand in the list, one after the other; they are added if they are not there yet."""
    if wanted[0] not in names:
        names.extend(wanted)
    return names.index(wanted[0])


class _Constants:
    """Initializers of a model: each constant once, under a name that nothing else has."""

    def __init__(self, model: ModelProto, encode: KernelEncoder) -> None:
        graph = model.graph
        self._graph = graph
        self._encode = encode
        self._taken = {value.name for value in (*graph.input, *graph.initializer)}
        self._taken |= {name for node in graph.node for name in node.output}
        self._plain: dict[str, str] = {}
        self._kernels: dict[tuple[str, bool], tuple[Form, list[str]]] = {}

    def plain(self, name: str, values: Array) -> str:
        if name not in self._plain:
            self._plain[name] = self._add(name, values)
        return self._plain[name]

    def kernel(self, name: str, values: Array, transposed: bool) -> tuple[Form, list[str]]:
        if (name, transposed) not in self._kernels:
            stored = self._encode(values, int(transposed))
            names = [self._add(f"{name}.{part}", tensor) for part, tensor in stored.arrays.items()]
            self._kernels[name, transposed] = (Form[stored.form.upper()], names)
        return self._kernels[name, transposed]

    def _add(self, wish: str, values: Array) -> str:
        name = free_name(wish, self._taken)
        self._taken.add(name)
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name
