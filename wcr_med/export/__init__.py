"""A trained network as one ONNX file: preprocessing inside, weights sparse, checked against PyTorch."""

from wcr_med.export.accelerate import Acceleration, LayerChoice
from wcr_med.export.accelerated import AcceleratedResult, export_accelerated
from wcr_med.export.channels import remove_dead_channels
from wcr_med.export.export import BuiltGraph, ExportResult, build_graph, export_model
from wcr_med.export.graph import to_onnx
from wcr_med.export.measure import MeasuredExport, measure_export
from wcr_med.export.metadata import licence_of
from wcr_med.export.parity import ParityReport, parity
from wcr_med.export.passes import fold_batch_norm
from wcr_med.export.quantised import QuantisedResult, export_quantised
from wcr_med.export.sessions import open_session, require_accelerator
from wcr_med.export.standalone import StandaloneResult, build_standalone, standalone_of
from wcr_med.export.storage import decode_kernel, dense_again, encode_kernel, store

__all__ = [
    "AcceleratedResult",
    "Acceleration",
    "BuiltGraph",
    "ExportResult",
    "LayerChoice",
    "MeasuredExport",
    "ParityReport",
    "QuantisedResult",
    "StandaloneResult",
    "build_graph",
    "build_standalone",
    "decode_kernel",
    "dense_again",
    "encode_kernel",
    "export_accelerated",
    "export_model",
    "export_quantised",
    "fold_batch_norm",
    "licence_of",
    "measure_export",
    "open_session",
    "parity",
    "remove_dead_channels",
    "require_accelerator",
    "standalone_of",
    "store",
    "to_onnx",
]
