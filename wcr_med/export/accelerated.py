"""The second file: the same network with fused nodes, for machines that have the accelerator."""

import itertools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from wcr_med.config import ExportConfig
from wcr_med.errors import UserError
from wcr_med.export.accelerate import Acceleration, accelerate
from wcr_med.export.layers import write_layers_of_accelerated
from wcr_med.export.loadable import require_loadable
from wcr_med.export.parity import ParityReport, choose_slices, parity
from wcr_med.export.partition import KernelEncoder
from wcr_med.export.sessions import require_accelerator
from wcr_med.export.storage import OPERATOR_FORMS, EncodedKernel, Storage, dense_again, encode_kernel, store
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, sha256_of_file
from wcr_med.model_metadata import INPUTS, METADATA_KEY, ModelMetadata
from wcr_med.onnx_file import read_contents
from wcr_med.preprocess import PreprocessSettings, prepare
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class AcceleratedResult:
    """What was written.

    Attributes:
        path: the file; a copy of the portable one where that is as fast.
        size_bytes: of the file.
        sha256: of the file.
        acceleration: what was measured and decided.
        parity: how far it is from the portable file; `None` for a copy.
    """

    path: Path
    size_bytes: int
    sha256: str
    acceleration: Acceleration
    parity: ParityReport | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            **self.acceleration.to_dict(),
            "parity": self.parity.to_dict() if self.parity is not None else None,
        }


def export_accelerated(
    portable: Path, config: ExportConfig, *, parity_volumes: Iterable[Volume], out_path: Path
) -> AcceleratedResult:
    """Write the accelerated file of a network, once it is faster than the dense network and answers as the portable.

    Where it is not faster, the file is a copy of the portable one, so that what is opened is never slower.

    Args:
        portable: the file that `export_model` wrote; its weights and metadata are taken from it.
        config: threads, rounds, storage, values, tolerances. Kernels are stored as the portable file's; instead of
            sparse_value, which the accelerator does not read, each that it computes takes its smallest form.
        parity_volumes: patients to compare on; the first gives the slice that is timed, too.
        out_path: the file to write; an older one stays if anything fails.

    Raises:
        UserError: the accelerator is absent, the portable file cannot be used, there are no volumes, the runtime would
            refuse the file, the answers differ by more than the tolerances, or a full disk. Nothing is left behind.
    """
    require_accelerator()
    volumes = iter(parity_volumes)
    first = next(volumes, None)
    if first is None:
        raise UserError("no volumes to time the accelerated file on; the export needs at least one")
    metadata, dense = _load(portable)
    settings = metadata.preprocess

    acceleration = accelerate(
        dense,
        timing_sample(first, settings),
        encode=kernel_encoder(config),
        threads=config.accelerate_threads,
        rounds=config.accelerate_rounds,
    )
    report = None
    with atomic_path(out_path) as temporary:
        if acceleration.model is None:
            shutil.copyfile(portable, temporary)
        else:
            # Kernels that stay with ONNX Runtime are the portable file's, too.
            stored = store(acceleration.model, config.storage, config.values)
            write_layers_of_accelerated(
                stored.model, stored.tensors, store(dense, config.storage, config.values).tensors
            )
            write_model(stored.model, temporary)
            require_loadable(temporary, metadata, target=out_path)
            report = parity(
                portable,
                temporary,
                itertools.chain([first], volumes),
                settings=settings,
                threshold=metadata.threshold,
                n_slices=config.parity_slices,
            )
            report.require_same_masks(range_tolerance=config.accelerate_tolerance, n_voxels=config.accelerate_voxels)
    return AcceleratedResult(
        path=out_path,
        size_bytes=out_path.stat().st_size,
        sha256=sha256_of_file(out_path),
        acceleration=acceleration,
        parity=report,
    )


def _load(portable: Path) -> tuple[ModelMetadata, ModelProto]:
    """What a portable file says about itself, and its graph with every kernel dense."""
    contents = read_contents(portable)
    metadata = ModelMetadata.from_json(contents.metadata.get(METADATA_KEY), source=str(portable))
    return metadata, dense_again(onnx.load(portable, load_external_data=False))


def kernel_encoder(config: ExportConfig) -> KernelEncoder:
    """How the accelerator's kernels are stored: as the portable file's, where the accelerator reads that form."""
    storage: Storage = config.storage if config.storage in OPERATOR_FORMS else "auto"

    def encode(kernel: Array, scale_axis: int) -> EncodedKernel:
        return encode_kernel(kernel, storage=storage, values=config.values, scale_axis=scale_axis)

    return encode


def timing_sample(volume: Volume, settings: PreprocessSettings) -> dict[str, Array]:
    """One slice as the graph takes it, with lesion where a mask tells which."""
    prepared = prepare(volume.image_SHWC, settings)
    image = np.ascontiguousarray(prepared.image_SChw[choose_slices(volume, 1)])
    return dict(zip(INPUTS, (image, prepared.centre_C, prepared.spread_C), strict=True))
