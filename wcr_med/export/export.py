"""The whole way from a trained network to a checked file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import ExportConfig
from wcr_med.export import channels
from wcr_med.export.graph import to_onnx
from wcr_med.export.layers import write_layers
from wcr_med.export.loadable import require_loadable
from wcr_med.export.metadata import build_metadata
from wcr_med.export.parity import ParityReport, parity
from wcr_med.export.passes import fold_batch_norm
from wcr_med.export.storage import Storage, Stored, TensorStorage, Values, store
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, sha256_of_file
from wcr_med.model_metadata import LICENCE_NOTE, METADATA_KEY, ModelMetadata
from wcr_med.onnx_file import SEAL_BYTES
from wcr_med.preprocess import PreprocessSettings
from wcr_med.volumes import Volume


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the file.
        size_bytes: of the file.
        dense_size_bytes: of the same file with every channel there and every kernel dense and float32.
        sha256: of the file.
        batch_norms_folded: how many batch norms became part of a convolution.
        batch_norms_kept: output name of each that did not -> why.
        dead_channels: what was removed; `None` where that was not asked for.
        tensors: how each kernel is stored.
        parity: how far the file is from PyTorch.
        metadata: what the file says about itself.
        dense: the graph with every kernel dense and float32, metadata included.
    """

    path: Path
    size_bytes: int
    dense_size_bytes: int
    sha256: str
    batch_norms_folded: int
    batch_norms_kept: dict[str, str]
    dead_channels: channels.Removed | None
    tensors: tuple[TensorStorage, ...]
    parity: ParityReport
    metadata: ModelMetadata
    dense: onnx.ModelProto = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, without the graph."""
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "dense_size_bytes": self.dense_size_bytes,
            "size_ratio": self.size_bytes / self.dense_size_bytes,
            "sha256": self.sha256,
            "batch_norms_folded": self.batch_norms_folded,
            "batch_norms_kept": self.batch_norms_kept,
            "dead_channels": self.dead_channels.to_dict() if self.dead_channels else None,
            "tensors": [row.to_dict() for row in self.tensors],
            "parity": self.parity.to_dict(),
            "threshold": self.metadata.threshold,
            "sparsity": self.metadata.sparsity,
            "split_hash": self.metadata.split_hash,
        }


@dataclass(frozen=True, kw_only=True)
class BuiltGraph:
    """A graph before it is written.

    Attributes:
        model: checked by ONNX's own full check.
        dense: the same with every kernel dense and float32.
        dense_size_bytes: what it would take with every channel there and every kernel dense and float32.
        batch_norms_folded: how many became part of a convolution.
        batch_norms_kept: output name of each that did not -> why.
        dead_channels: what was removed; `None` where that was not asked for.
        tensors: how each kernel is stored.
    """

    model: onnx.ModelProto
    dense: onnx.ModelProto
    dense_size_bytes: int
    batch_norms_folded: int
    batch_norms_kept: dict[str, str]
    dead_channels: channels.Removed | None
    tensors: tuple[TensorStorage, ...]


def build_graph(
    model: nn.Module,
    settings: PreprocessSettings,
    *,
    in_channels: int,
    storage: Storage = "auto",
    values: Values = "fp32",
    remove_dead_channels: bool = True,
    metadata: ModelMetadata | None = None,
) -> BuiltGraph:
    """Trace a network, fold its batch norms, remove dead channels, choose the storage of its kernels, check the graph.

    Args:
        model: images to logits, on the CPU.
        settings: the network's preprocessing.
        in_channels: image channels.
        storage: form of the kernels; "auto" takes the smallest for each.
        values: type of the kernels' values.
        remove_dead_channels: whether channels on which the outputs do not depend go; see `wcr_med.export.channels`.
        metadata: the document to put in, and a table of the kernels with it; without it the runtime refuses the file,
            which suits a benchmark.
    """
    folded = fold_batch_norm(to_onnx(model, settings, in_channels=in_channels))
    if metadata is not None:
        onnx.helper.set_model_props(folded.model, {METADATA_KEY: metadata.to_json()})
    dead_channels = channels.remove_dead_channels(folded.model) if remove_dead_channels else None
    dense = dead_channels.model if dead_channels else folded.model
    stored: Stored = store(dense, storage, values)
    whole = store(folded.model, "dense")
    if metadata is not None:
        write_layers(stored.model, stored.tensors)
        write_layers(whole.model, whole.tensors)
    onnx.checker.check_model(stored.model, full_check=True)
    return BuiltGraph(
        model=stored.model,
        dense=dense,
        dense_size_bytes=whole.model.ByteSize() + SEAL_BYTES,
        batch_norms_folded=len(folded.folded),
        batch_norms_kept=folded.kept,
        dead_channels=dead_channels,
        tensors=stored.tensors,
    )


def export_model(
    model: nn.Module,
    artefact: ModelArtefact,
    config: ExportConfig,
    *,
    parity_volumes: Iterable[Volume],
    out_path: Path,
    channel_files: Sequence[str] | None = None,
    licence: str = LICENCE_NOTE,
) -> ExportResult:
    """Write a network as one ONNX file, once it has been shown to answer as PyTorch does.

    The file holds preprocessing, network and metadata, and plain ONNX Runtime loads it. It is written beside its final
    name first, checked by ONNX and as the runtime does before it opens a file, and loaded and run by ONNX Runtime; only
    a file within the tolerances takes the name.

    Args:
        model: the network as trained or pruned, on the CPU. It is not changed.
        artefact: what is known about it; needs a threshold.
        config: storage, values, tolerances, number of slices to compare.
        parity_volumes: patients to compare on, best those of the test set; read one at a time, no more than needed.
        out_path: the file to write; an older one stays if anything fails.
        channel_files: for NIfTI with one file a channel: a file pattern for each, in the network's order.
        licence: of the weights, for the file's metadata.

    Raises:
        UserError: no threshold, no volumes, a network that the runtime would refuse, a difference beyond a tolerance, a
            full disk. Nothing is left behind.
    """
    metadata = build_metadata(model, artefact, channel_files=channel_files, licence=licence)
    settings = metadata.preprocess
    built = build_graph(
        model,
        settings,
        in_channels=metadata.in_channels,
        storage=config.storage,
        values=config.values,
        remove_dead_channels=config.remove_dead_channels,
        metadata=metadata,
    )
    with atomic_path(out_path) as temporary:
        write_model(built.model, temporary)
        require_loadable(temporary, metadata, target=out_path)
        report = parity(
            model,
            temporary,
            parity_volumes,
            settings=settings,
            threshold=metadata.threshold,
            n_slices=config.parity_slices,
        )
        _require_parity(report, config)
    return ExportResult(
        path=out_path,
        size_bytes=out_path.stat().st_size,
        dense_size_bytes=built.dense_size_bytes,
        sha256=sha256_of_file(out_path),
        batch_norms_folded=built.batch_norms_folded,
        batch_norms_kept=built.batch_norms_kept,
        dead_channels=built.dead_channels,
        tensors=built.tensors,
        parity=report,
        metadata=metadata,
        dense=built.dense,
    )


def _require_parity(report: ParityReport, config: ExportConfig) -> None:
    if config.values == "fp32":
        report.require(logit_tolerance=config.logit_tolerance, dice_tolerance=config.dice_tolerance)
    else:
        report.require_lossy(
            config.values,
            dice_tolerance=config.lossy_dice_tolerance,
            voxel_tolerance=config.lossy_voxel_tolerance,
        )
