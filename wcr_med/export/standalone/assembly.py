"""A portable model as a standalone one: raw 8-bit slices in, a mask out, everything between in the graph."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, compose, helper

from wcr_med.export.nodes import free_prefix, parted
from wcr_med.export.passes import remove_unused_initializers
from wcr_med.export.standalone.framing import Resampling, resampling
from wcr_med.export.standalone.statistics import Statistics, measure
from wcr_med.export.standalone.writing import GraphWriter, Results, Tensor, value_info
from wcr_med.model_metadata import INPUTS, OUTPUTS, STANDALONE_OUTPUTS, ModelMetadata
from wcr_med.onnx_file import SEAL_KEYS

IMAGE, (MASK, PROBABILITY) = INPUTS[0], STANDALONE_OUTPUTS
_NATIVE = ("rows", "columns")
_SHAPE = ("slices", *_NATIVE)
_IMAGE_TEXT = (
    "raw 8-bit slices of one whole patient, in order; channels are the sequences that the network was trained with"
)
_MASK_TEXT = "1 where the probability is at least the network's threshold, else 0"


def build_standalone(model: ModelProto, metadata: ModelMetadata) -> ModelProto:
    """Put preprocessing, threshold and the way back around a network.

    The volume goes through three Loops, a slice at a time: its histograms, those of its foreground, the network. Beside
    the volume, the mask and the probability, the graph holds in memory what one slice needs.

    Requires: a portable model that the checker accepts, of opset 18 or later, whose inputs and outputs are those of
    `wcr_med.export.graph.to_onnx`; its weights may be stored in any form.

    Ensures: weights are stored as before, and decoded once, at load, where the portable file's are. Metadata stay, but
    for the checksum, which belongs to a file (`wcr_med.onnx_file.seal`). For a volume of 8-bit values the answer is
    that of `wcr_med.preprocess.predict_volume` and `binarise` but for the order in which products of float32 matrices
    are summed up.

    Args:
        model: the portable graph; left alone.
        metadata: what it says about itself.

    Returns:
        Input `image` uint8 (slices, rows, columns, C), one whole volume, any number of slices of any size; outputs
        `mask` uint8 of 0 and 1 and `probability` float32 in [0, 1], both (slices, rows, columns).
    """
    network = _renamed(model)
    constant, varying = parted(network)
    writer = GraphWriter(free_prefix("s", network))
    image_SHWC = writer.tensor(np.uint8, IMAGE)
    found = measure(writer, image_SHWC, metadata.preprocess, metadata.in_channels)
    matrices = resampling(writer, found, metadata.preprocess)
    mask, probability = _segment(writer, image_SHWC, network, varying, found, matrices, metadata)
    for tensor, name in ((mask, MASK), (probability, PROBABILITY)):
        writer.nodes.append(helper.make_node("Identity", [tensor.name], [name]))
    mask_SHW, probability_SHW = writer.tensor(np.uint8, MASK), writer.tensor(np.float32, PROBABILITY)
    graph = helper.make_graph(
        [*constant, *writer.nodes],
        "wcr_med_standalone",
        [value_info(image_SHWC, (*_SHAPE, metadata.in_channels), _IMAGE_TEXT)],
        [value_info(mask_SHW, _SHAPE, _MASK_TEXT), value_info(probability_SHW, _SHAPE)],
        [*network.initializer, *writer.constants.values()],
    )
    result = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.metadata_props.extend(entry for entry in model.metadata_props if entry.key not in SEAL_KEYS)
    result = remove_unused_initializers(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def _segment(
    writer: GraphWriter,
    image_SHWC: Tensor,
    network: GraphProto,
    varying: Sequence[NodeProto],
    found: Statistics,
    matrices: Resampling,
    metadata: ModelMetadata,
) -> tuple[Tensor, Tensor]:
    """Mask and probability of every slice."""
    settings, (image, centre, spread), (_, answer) = metadata.preprocess, INPUTS, OUTPUTS
    names = dict(zip((*INPUTS, *OUTPUTS), [value.name for value in (*network.input, *network.output)], strict=True))

    def body(inner: GraphWriter, slice_HWC: Tensor, _: list[Tensor]) -> tuple[list[Tensor], Results]:
        raw_CHW = slice_HWC.to(np.float32).transpose(2, 0, 1)
        raw_Chw = matrices.down_hH @ (raw_CHW @ matrices.across_Ww)
        for name, tensor in ((image, raw_Chw.unsqueeze(0)), (centre, found.centre_C), (spread, found.spread_C)):
            inner.nodes.append(helper.make_node("Identity", [tensor.name], [names[name]]))
        inner.nodes.extend(varying)
        probability_hw = inner.tensor(np.float32, names[answer]).reshape(settings.height, settings.width)
        probability_HW = matrices.back_down_Hh @ (probability_hw @ matrices.back_across_wW)
        probability_HW = probability_HW.maximum(0.0).minimum(1.0)
        mask_HW = (probability_HW >= metadata.threshold).to(np.uint8)
        return [], [(mask_HW, _NATIVE), (probability_HW, _NATIVE)]

    mask_SHW, probability_SHW = writer.loop(image_SHWC, [], body)
    return mask_SHW, probability_SHW


def _renamed(model: ModelProto) -> GraphProto:
    """The portable graph with other names for its inputs and outputs, since those belong to the whole now."""
    prefix = free_prefix("n", model.graph)
    renamed: ModelProto = compose.add_prefix(
        model,
        prefix,
        rename_nodes=False,
        rename_edges=False,
        rename_inputs=True,
        rename_outputs=True,
        rename_initializers=False,
        rename_value_infos=False,
    )
    return renamed.graph
