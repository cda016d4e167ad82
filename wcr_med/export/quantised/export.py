"""The INT8 file of a network, checked against the portable one before it is written."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import ExportConfig
from wcr_med.errors import UserError
from wcr_med.export.export import build_graph
from wcr_med.export.layers import write_layers
from wcr_med.export.loadable import require_loadable
from wcr_med.export.metadata import build_metadata
from wcr_med.export.parity import ParityReport, parity
from wcr_med.export.quantised.calibration import calibration_feeds
from wcr_med.export.quantised.graph import computing_nodes, named_nodes, quantise
from wcr_med.export.storage import Storage, TensorStorage, store
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, sha256_of_file
from wcr_med.model_metadata import LICENCE_NOTE
from wcr_med.volumes import Volume

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class QuantisedResult:
    """What was written.

    Attributes:
        path: the file.
        size_bytes: of the file.
        sha256: of the file.
        portable_sha256: of the file that it was compared with.
        n_calibration_slices: from which the ranges of activations were read.
        kept_fp32: kernels of the layers that go on computing in float32.
        tensors: how each kernel is stored.
        parity: how far it is from the portable file.
    """

    path: Path
    size_bytes: int
    sha256: str
    portable_sha256: str
    n_calibration_slices: int
    kept_fp32: tuple[str, ...]
    tensors: tuple[TensorStorage, ...]
    parity: ParityReport

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "portable_sha256": self.portable_sha256,
            "n_calibration_slices": self.n_calibration_slices,
            "kept_fp32": list(self.kept_fp32),
            "tensors": [row.to_dict() for row in self.tensors],
            "parity": self.parity.to_dict(),
        }


def export_quantised(
    model: nn.Module,
    artefact: ModelArtefact,
    config: ExportConfig,
    *,
    portable: Path,
    calibration_volumes: Iterable[Volume],
    parity_volumes: Callable[[], Iterable[Volume]],
    out_path: Path,
    channel_files: Sequence[str] | None = None,
    licence: str = LICENCE_NOTE,
) -> QuantisedResult:
    """Write a network that computes in INT8, once it has been shown to find what the portable file finds.

    All layers are quantised first. Where that fails the gate, the first one stays in float32, then the last one, too:
    both are small, and an error in the image reaches everything.

    Args:
        model: the network as trained or pruned, on the CPU. It is not changed.
        artefact: what is known about it; needs a threshold.
        config: storage, tolerances of lossy files, number of slices to compare.
        portable: the exported file of the same network.
        calibration_volumes: patients of the training or validation set.
        parity_volumes: gives the patients to compare on, best those of the test set; called once an attempt.
        out_path: the file to write; an older one stays if anything fails.
        channel_files: see `export_model`.
        licence: see `export_model`.

    Raises:
        UserError: no threshold, no volumes, a network that the runtime would refuse, a difference beyond a tolerance
            however much stays in float32, a full disk. Nothing is left behind.
    """
    metadata = build_metadata(model, artefact, channel_files=channel_files, licence=licence)
    settings = metadata.preprocess
    built = build_graph(
        model,
        settings,
        in_channels=metadata.in_channels,
        storage="dense",
        remove_dead_channels=config.remove_dead_channels,
        metadata=metadata,
    )
    dense = named_nodes(built.dense)
    feeds = calibration_feeds(calibration_volumes, settings)
    layers = computing_nodes(dense)
    attempts: list[tuple[str, ...]] = [(), tuple(layers[:1]), (*layers[:1], *layers[-1:])]
    with atomic_path(out_path) as temporary:
        for number, keep in enumerate(attempts, start=1):
            tensors = _save(quantise(dense, feeds, keep=keep), temporary, config.storage)
            require_loadable(temporary, metadata, target=out_path)
            report = parity(
                portable,
                temporary,
                parity_volumes(),
                settings=settings,
                threshold=metadata.threshold,
                n_slices=config.parity_slices,
            )
            try:
                report.require_quantised(
                    dice_tolerance=config.quantised_dice_tolerance,
                    voxel_tolerance=config.quantised_voxel_tolerance,
                )
            except UserError:
                if number == len(attempts):
                    raise
                _LOG.info(
                    "export: INT8 with %d layers in float32: Dice differs by %.3g, voxels by %.3g; trying with %d",
                    len(keep),
                    report.largest_dice_difference,
                    report.differing_share,
                    len(attempts[number]),
                )
            else:
                break
    return QuantisedResult(
        path=out_path,
        size_bytes=out_path.stat().st_size,
        sha256=sha256_of_file(out_path),
        portable_sha256=sha256_of_file(portable),
        n_calibration_slices=len(feeds),
        kept_fp32=tuple(node.input[1] for node in dense.graph.node if node.name in keep),
        tensors=tensors,
        parity=report,
    )


def _save(model: onnx.ModelProto, path: Path, storage: Storage) -> tuple[TensorStorage, ...]:
    stored = store(model, storage)
    write_layers(stored.model, stored.tensors)
    onnx.checker.check_model(stored.model)
    write_model(stored.model, path)
    return stored.tensors
