"""Graph passes. Each states what it requires and ensures, leaves its argument alone and returns a typed result."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from wcr_med.export.nodes import attribute, free_name, reads

Array = npt.NDArray[Any]

_CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What `fold_batch_norm` did.

    Attributes:
        model: the new graph.
        folded: output names of the batch norms that are gone, in graph order.
        kept: output name of every batch norm that stays -> why.
    """

    model: ModelProto
    folded: tuple[str, ...]
    kept: dict[str, str]


def fold_batch_norm(model: ModelProto) -> Folded:
    """Fold each inference-mode batch norm into the convolution before it.

    With scale s = gamma / sqrt(variance + epsilon), a kernel w becomes s * w for each output channel, and its bias b
    becomes beta + s * (b - mean); computed in float64, stored as float32.

    Requires:
        A model that the checker accepts. A batch norm is folded if its input is the output of a Conv or ConvTranspose
        that nothing else reads and that is no graph output, if the parameters of both are float32 initializers that no
        graph input overrides, and if the new parameters are finite. Any other batch norm stays, with the reason.

    Ensures:
        The outputs are the same up to rounding. Every weight that is zero (of either sign) is +0.0 afterwards, whatever
        the scale, so sparsity never falls. Names of graph inputs and outputs stay. A kernel that other nodes use is not
        changed. Initializers that nothing reads any more are gone.
    """
    folder = _Folder(model)
    kept: dict[str, str] = {}
    folded = []
    for node in list(folder.graph.node):
        if node.op_type == "BatchNormalization" and node.domain == "":
            reason = folder.fold(node)
            if reason is None:
                folded.append(node.output[0])
            else:
                kept[node.output[0]] = reason
    return Folded(model=remove_unused_initializers(folder.model), folded=tuple(folded), kept=kept)


def remove_unused_initializers(model: ModelProto) -> ModelProto:
    """A copy without the initializers that nothing reads, and without types of tensors that no longer exist.

    Requires: a model that the checker accepts. Ensures: outputs are the same; inputs and outputs of the graph stay.
    """
    clean = ModelProto()
    clean.CopyFrom(model)
    graph = clean.graph
    used = _reads(graph)
    _keep(graph.initializer, [tensor for tensor in graph.initializer if used[tensor.name]])
    alive = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    _keep(graph.value_info, [info for info in graph.value_info if info.name in alive])
    return clean


class _Folder:
    """One run of `fold_batch_norm` over a copy of the model."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.reads = _reads(self.graph)
        self.producer = {name: node for node in self.graph.node for name in node.output}
        overridable = {value.name for value in self.graph.input}
        self.constants = {
            tensor.name: tensor
            for tensor in self.graph.initializer
            if tensor.name not in overridable and tensor.data_type == TensorProto.FLOAT
        }

    def fold(self, norm: NodeProto) -> str | None:
        """Fold one batch norm; the reason why not, or `None` when it is done."""
        convolution = self.producer.get(norm.input[0])
        if convolution is None or convolution.op_type not in _CONVOLUTIONS or convolution.domain != "":
            return "its input is not the output of a convolution"
        if self.reads[norm.input[0]] != 1:
            return "something else reads the convolution's output"
        if attribute(norm, "training_mode", 0) or len([name for name in norm.output if name]) != 1:
            return "it is in training mode"
        names = [*convolution.input[1:], *norm.input[1:]]
        if any(name and name not in self.constants for name in names):
            return "a parameter is not a float32 initializer"
        kernel, bias = self._parameters(convolution, norm)
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            return "the folded parameters are not finite"
        self._replace(convolution, norm, kernel, bias)
        return None

    def _parameters(self, convolution: NodeProto, norm: NodeProto) -> tuple[Array, Array]:
        """Kernel and bias, float32, of the convolution that does both."""
        kernel = self._values(convolution.input[1])
        gamma, beta, mean, variance = (self._values(name) for name in norm.input[1:5])
        bias = self._values(convolution.input[2]) if len(convolution.input) > 2 and convolution.input[2] else 0.0
        with np.errstate(all="ignore"):  # the caller refuses what is not finite
            scale = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
            folded = (kernel * _per_output(scale, kernel, convolution)).astype(np.float32)
            folded[kernel == 0] = 0.0
            return folded, (beta + scale * (bias - mean)).astype(np.float32)

    def _replace(self, convolution: NodeProto, norm: NodeProto, kernel: Array, bias: Array) -> None:
        old = convolution.input[1]
        new = old if self.reads[old] == 1 else self._free_name(f"{old}.{norm.output[0]}")
        bias_name = self._free_name(f"{new}.bias")
        for name, values in ((new, kernel), (bias_name, bias)):
            tensor = numpy_helper.from_array(values, name)
            if name in self.constants:
                self.constants[name].CopyFrom(tensor)
            else:
                self.graph.initializer.append(tensor)
                self.constants[name] = self.graph.initializer[-1]
        self.reads[old] -= 1
        self.reads[new] += 1
        del convolution.input[1:]
        convolution.input.extend([new, bias_name])
        convolution.output[0] = norm.output[0]
        self.producer[norm.output[0]] = convolution
        self.graph.node.remove(norm)

    def _values(self, name: str) -> Array:
        return numpy_helper.to_array(self.constants[name]).astype(np.float64)

    def _free_name(self, wish: str) -> str:
        tensors = (*self.graph.input, *self.graph.initializer)
        return free_name(wish, self.producer.keys() | {tensor.name for tensor in tensors})


def _per_output(scale: Array, kernel: Array, convolution: NodeProto) -> Array:
    """The scale of each output channel, shaped to multiply a kernel."""
    spatial = (1,) * (kernel.ndim - 2)
    if convolution.op_type == "Conv":  # (out, in / groups, ...)
        return scale.reshape(-1, 1, *spatial)
    # ConvTranspose: (in, out / groups, ...), the inputs of a group side by side
    groups = attribute(convolution, "group", 1)
    inputs_of_group = kernel.shape[0] // groups
    return np.repeat(scale.reshape(groups, kernel.shape[1]), inputs_of_group, axis=0).reshape(
        *kernel.shape[:2], *spatial
    )


def _reads(graph: GraphProto) -> Counter[str]:
    """How often each tensor is read, by nodes, by nodes of inner graphs, or as an output of the graph."""
    counts = Counter(value.name for value in graph.output)
    counts.update(name for node in graph.node for name in reads(node))
    return counts


def _keep(field: Any, entries: Iterable[Any]) -> None:
    kept = list(entries)
    copies = [type(entry)() for entry in kept]
    for copy, entry in zip(copies, kept, strict=True):
        copy.CopyFrom(entry)
    del field[:]
    field.extend(copies)
