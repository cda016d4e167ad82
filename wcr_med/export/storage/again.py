"""From stored kernels back to dense ones: a model file in another form, without the network that it was made from."""

import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wcr_med.export.nodes import parted, reads
from wcr_med.export.passes import remove_unused_initializers
from wcr_med.export.storage.choice import kernel_names
from wcr_med.export.storage.forms import Array
from wcr_med.native.sessions import open_apart


def dense_again(model: ModelProto) -> ModelProto:
    """A model whose kernels are initializers, as they were before `store`; whatever form they have.

    Requires: what `store` made, of ordinary operators. Decoders are the nodes that no graph input reaches.

    Ensures: kernels that `store` kept to the bit have the same bits again, denormal numbers and -0.0 included; rounded
    ones have the values that they decode to. Kernels come last among the initializers, in the order of the nodes that
    read them, so that to store them again leads to the same file each time.
    Nodes that are no decoder and metadata stay, the table of kernels (`wcr_med.model_layers`) among them.

    Args:
        model: left alone.
    """
    constant, _ = parted(model.graph)
    made = {name for node in constant for name in node.output}
    wanted = [name for name in kernel_names(model) if name in made]
    needed = _needed(constant, wanted)
    kernels = _computed(model, needed, wanted) if wanted else []
    result = ModelProto()
    result.CopyFrom(model)
    decoders = {node.output[0] for node in needed}
    del result.graph.node[:]
    result.graph.node.extend(node for node in model.graph.node if node.output[0] not in decoders)
    result.graph.initializer.extend(
        numpy_helper.from_array(kernel, name) for name, kernel in zip(wanted, kernels, strict=True)
    )
    place = {name: number for number, name in enumerate(kernel_names(result), start=1)}
    ordered = sorted(result.graph.initializer, key=lambda tensor: place.get(tensor.name, 0))
    del result.graph.initializer[:]
    result.graph.initializer.extend(ordered)
    return remove_unused_initializers(result)


def _computed(model: ModelProto, nodes: list[NodeProto], wanted: list[str]) -> list[Array]:
    """What the nodes, which need no input, make of the model's constants."""
    # ONNX Runtime gives no sparse constant as an output, but a copy of one.
    shown = {name: f"shown/{number}" for number, name in enumerate(wanted)}
    copies = [helper.make_node("Identity", [name], [output]) for name, output in shown.items()]
    outputs = [helper.make_empty_tensor_value_info(output) for output in shown.values()]
    graph = helper.make_graph([*nodes, *copies], "kernels", [], outputs)
    graph.initializer.extend(model.graph.initializer)
    only = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()  # not ours, by which denormal weights would become zero
    options.log_severity_level = 4
    found: list[Array] = open_apart(only.SerializeToString(), options).run(list(shown.values()), {})
    return found


def _needed(nodes: list[NodeProto], wanted: list[str]) -> list[NodeProto]:
    """Those of the nodes on which the tensors depend."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(reads(node))
    return kept[::-1]
