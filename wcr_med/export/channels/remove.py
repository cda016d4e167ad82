"""Take channels out of a graph that do nothing, exactly."""

from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto, TensorProto

from wcr_med.export.channels.additions import drop_constant_branches
from wcr_med.export.channels.constants import constant_channels
from wcr_med.export.channels.liveness import plan
from wcr_med.export.channels.rewrite import FoldError, rewrite
from wcr_med.export.channels.roles import roles
from wcr_med.export.channels.working import WorkingGraph, n_parameters, share_equal
from wcr_med.export.nodes import attribute
from wcr_med.export.passes import remove_unused_initializers


@dataclass(frozen=True, kw_only=True)
class LayerChannels:
    """Channels of one convolution.

    Attributes:
        name: of its kernel before removal.
        inputs_before: channels it read.
        inputs_after: channels it reads; 0 where the layer is gone.
        outputs_before: channels it made.
        outputs_after: channels it makes; 0 where the layer is gone.
    """

    name: str
    inputs_before: int
    inputs_after: int
    outputs_before: int
    outputs_after: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What `remove_dead_channels` did.

    Attributes:
        model: the new graph.
        layers: a row a convolution, in graph order.
        n_parameters_before: elements of the float32 initializers of rank 1 or more.
        n_parameters_after: the same of the new graph.
        additions: output names of the additions whose constant branch is gone.
        kept: output name of each node at which channels stay that nothing needs -> why.
    """

    model: ModelProto
    layers: tuple[LayerChannels, ...]
    n_parameters_before: int
    n_parameters_after: int
    additions: tuple[str, ...]
    kept: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "n_parameters_before": self.n_parameters_before,
            "n_parameters_after": self.n_parameters_after,
            "layers": [row.to_dict() for row in self.layers],
            "additions": list(self.additions),
            "kept": self.kept,
        }


def remove_dead_channels(model: ModelProto) -> Removed:
    """Remove the channels of feature maps that the outputs do not depend on, or depend on only by a constant.

    A channel goes if no convolution reads it with a non-zero weight, or if it has one value everywhere and for every
    input. A constant of zero just goes. Any other goes into the bias of the convolution that reads it, where it adds
    the same everywhere. Where it meets padding it does not, for the border sees less of it: there one constant channel
    stays for all of that map, and its kernel becomes the sum of theirs, weighted by their values. A layer of which
    nothing is needed goes whole.

    Requires:
        A model that the checker accepts, of opset 13 or later, with parameters as initializers. Channels are followed
        through Conv and ConvTranspose (of one group, or one group a channel), BatchNormalization, the operators of
        `elementwise`, pooling, PRelu, Concat and Resize; those that other operators make or read stay, as do those of
        graph inputs and outputs. Feature maps hold finite numbers: a zero weight times infinity is taken for zero.

    Ensures:
        The outputs are the same for every input, at borders too: removing zeros and what nobody reads changes no term
        of any sum, and folded constants are computed in float64 and stored as float32. Names and types of graph inputs
        and outputs stay, and so do names of kernels that one layer reads. There are no more parameters than before. A
        second run changes nothing. What nothing reads any more is gone, types of tensors are up to date. A model in
        which nothing can be removed is returned as it is.

    Args:
        model: the graph; left alone.
    """
    refused: dict[str, str] = {}
    additions: list[str] = []
    current, changed = model, False
    while True:  # each turn removes channels, additions, or a convolution from those that may change
        graph = WorkingGraph(current)
        found = roles(graph, refused)
        values = constant_channels(graph, found)
        if dropped := drop_constant_branches(graph, found, values):
            current, changed = _tidy(graph.finish(), model), True
            additions.extend(dropped)
            continue
        decided = plan(graph, found, values)
        if not decided.removes():
            break
        try:
            current, changed = _tidy(rewrite(graph, found, decided), model), True
        except FoldError as error:
            refused[error.target] = "constants folded into its parameters are not finite"
    if not changed or n_parameters(current) > n_parameters(model):
        current, additions = _copy(model), []
    return Removed(
        model=current,
        layers=_layers(model, current),
        n_parameters_before=n_parameters(model),
        n_parameters_after=n_parameters(current),
        additions=tuple(additions),
        kept=decided.stopped,
    )


def _tidy(model: ModelProto, original: ModelProto) -> ModelProto:
    share_equal(model, original)
    return remove_unused_initializers(model)


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _layers(before: ModelProto, after: ModelProto) -> tuple[LayerChannels, ...]:
    left = {target: (inputs, outputs) for target, _, inputs, outputs in _convolutions(after)}
    return tuple(
        LayerChannels(
            name=name,
            inputs_before=inputs,
            inputs_after=left.get(target, (0, 0))[0],
            outputs_before=outputs,
            outputs_after=left.get(target, (0, 0))[1],
        )
        for target, name, inputs, outputs in _convolutions(before)
    )


def _convolutions(model: ModelProto) -> list[tuple[str, str, int, int]]:
    """Output name, kernel name, input and output channels of each convolution whose kernel is a float32 initializer."""
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    rows = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and node.domain == "" and node.input[1] in sizes:
            first, second = sizes[node.input[1]][:2]
            groups = attribute(node, "group", 1)
            inputs, outputs = (second * groups, first) if node.op_type == "Conv" else (first, second * groups)
            rows.append((node.output[0], node.input[1], inputs, outputs))
    return rows
