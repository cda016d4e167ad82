"""Which operators of a graph a program can hold, and as what."""

from collections.abc import Callable

from onnx import NodeProto

from wcr_med.export.partition import pointwise, windows
from wcr_med.export.partition.facts import Facts
from wcr_med.export.partition.operators import Lowered, RefusalError
from wcr_med.export.program import Convolution, MaxPool, Upsample

# What the operator takes; see native/src/parse.h.
_MAX_KERNEL, _MAX_PADDING, _MAX_CHANNELS, _MAX_FACTOR, _MAX_TRANSPOSED_STRIDE = 255, 4096, 65536, 64, 32

_HANDLERS: dict[str, Callable[[NodeProto, Facts], Lowered]] = {
    "Add": pointwise.add,
    "Concat": pointwise.concat,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "Dropout": pointwise.nothing,
    "Identity": pointwise.nothing,
    "LeakyRelu": pointwise.leaky_relu,
    "MaxPool": windows.max_pool,
    "PRelu": pointwise.prelu,
    "Relu": pointwise.relu,
    "Resize": windows.resize,
}


def lower(node: NodeProto, facts: Facts) -> Lowered | str:
    """The operator as part of a program, or the reason why it cannot be one.

    Supported are, over float32 feature maps (N, C, h, w): convolutions and transposed convolutions of one group with
    constant kernels, ReLU, leaky and parametric ReLU with one slope or one a channel, addition of equal shapes,
    concatenation of channels, max-pooling, nearest upsampling by whole factors, and operators that do nothing.

    Args:
        node: of the graph that `facts` are about; nodes before it must have been lowered already.
        facts: gains what follows for the node's output.
    """
    handler = _HANDLERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if handler is None:
        return f"{node.op_type} is not supported"
    if len([name for name in node.output if name]) != 1:
        return "it has more than one output"
    if not node.output[0]:
        return "its first output is not used"
    try:
        lowered = handler(node, facts)
    except RefusalError as reason:
        return str(reason)
    if not _within_limits(lowered):
        return "a size beyond what a program may hold"
    facts.grids[lowered.writes] = lowered.grid
    return lowered


def _within_limits(lowered: Lowered) -> bool:
    template = lowered.template
    if isinstance(template, Convolution):
        steps = (*template.kernel, *template.strides, *template.dilations)
        fits = max(steps) <= _MAX_KERNEL and max(template.c_in, template.c_out) <= _MAX_CHANNELS
        strides_fit = not template.transposed or max(template.strides) <= _MAX_TRANSPOSED_STRIDE
        return fits and strides_fit and max(template.pads) <= _MAX_PADDING
    if isinstance(template, MaxPool):
        return max(*template.kernel, *template.strides) <= _MAX_KERNEL
    return not isinstance(template, Upsample) or max(template.factors) <= _MAX_FACTOR
