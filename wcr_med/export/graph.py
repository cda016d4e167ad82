"""From a PyTorch network to an ONNX graph that takes raw intensities."""

import contextlib
import io
import warnings

import onnx
import onnxscript.optimizer
import torch
from onnx_ir.passes import common as graph_passes
from torch import Tensor, nn

from wcr_med.interrupts import interrupts_deferred
from wcr_med.model_metadata import INPUTS, OUTPUTS
from wcr_med.preprocess import INTENSITY_LIMIT, PreprocessSettings

OPSET = 18
"""The lowest that holds every operator used; ONNX Runtime has read it since 1.14."""

_FOLD_LIMIT = 1 << 24  # elements: parameters of normalisation are expanded to channels and must fold whatever the width


class WithPreprocessing(nn.Module):
    """The network behind the three operations of `wcr_med.preprocess.normalise`, with logits and probability."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Raw intensities (N, C, h, w), centre (C) and spread (C) to logits and probability, both (N, 1, h, w)."""
        scaled = (image - centre.reshape(-1, 1, 1)) / spread.reshape(-1, 1, 1)
        logits = self.network(scaled.clamp(-INTENSITY_LIMIT, INTENSITY_LIMIT))
        return logits, torch.sigmoid(logits)


def to_onnx(model: nn.Module, settings: PreprocessSettings, *, in_channels: int) -> onnx.ModelProto:
    """Trace a network in evaluation mode.

    The grid is fixed to `settings`, since a volume always reaches the network on that grid; so shapes are constants of
    the graph and a network of any architecture needs no shape arithmetic. The number of slices is free. Batch norm is
    still
    there: `wcr_med.export.passes` folds it. Names of source files, which the exporter leaves in the graph, are removed.

    Args:
        model: images float32 (N, in_channels, h, w) to logits (N, 1, h, w), on the CPU. Its training mode is restored.
        settings: height and width of the grid.
        in_channels: image channels.

    Returns:
        Inputs `image` float32 (batch, C, h, w) raw intensities on the network's grid, `centre` (C), `spread` (C,
        positive); outputs `logits` and `probability`, float32 (batch, 1, h, w).
    """
    example = (
        torch.zeros(2, in_channels, settings.height, settings.width),  # one slice would be taken for a constant
        torch.zeros(in_channels),
        torch.ones(in_channels),
    )
    was_training = model.training
    try:
        # The exporter reports its progress and its own deprecations, neither of which the user can act on.
        with interrupts_deferred(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                WithPreprocessing(model).eval(),
                example,
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}, "centre": None, "spread": None},
                verbose=False,
            )
    finally:
        model.train(was_training)
    assert program is not None
    graph = program.model
    for _ in range(2):  # folding reveals more that can be folded
        onnxscript.optimizer.inline(graph)
        onnxscript.optimizer.fold_constants(graph, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
        onnxscript.optimizer.remove_unused_nodes(graph)
    graph_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    graph_passes.DeduplicateInitializersPass()(graph)
    graph_passes.CommonSubexpressionEliminationPass()(graph)
    graph_passes.RemoveUnusedNodesPass()(graph)
    return without_traces(program.model_proto)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without documentation strings and exporter metadata, which name source files of the machine.

    Ensures: nodes, tensors and types are the same.
    """
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.doc_string = ""
    del clean.metadata_props[:]
    graph = clean.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return clean
