"""From a portable file to a standalone one, checked before it is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.export.standalone.assembly import build_standalone
from wcr_med.export.standalone.gate import StandaloneParity, compare
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, sha256_of_file
from wcr_med.model_metadata import INPUTS, METADATA_KEY, OUTPUTS, ModelMetadata
from wcr_med.onnx_file import read_contents
from wcr_med.volumes import Volume

_TOLERANCE = 1e-4  # of probabilities; products summed up in another order make some 1e-6


@dataclass(frozen=True, kw_only=True)
class StandaloneResult:
    """What was written.

    Attributes:
        path: the file.
        size_bytes: of the file.
        portable_size_bytes: of the file that it was made from; `portable_sha256` likewise.
        sha256: of the file.
        parity: how far it is from that file.
    """

    path: Path
    size_bytes: int
    portable_size_bytes: int
    portable_sha256: str
    sha256: str
    parity: StandaloneParity

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "portable_size_bytes": self.portable_size_bytes,
            "portable_sha256": self.portable_sha256,
            "sha256": self.sha256,
            "parity": self.parity.to_dict(),
        }


def standalone_of(
    path: Path,
    target: Path,
    *,
    volumes: Iterable[Volume],
    n_slices: int = 64,
    allowed_voxels: int = 0,
    threads: int = 0,
) -> StandaloneResult:
    """Write a portable model file as a standalone one, once it has been shown to find the same.

    See `build_standalone` for its input and outputs. Weights are stored as they are in the portable file, and its
    metadata stay.

    Args:
        path: a portable file that `wcr-med export` wrote.
        target: the file to write; an older one stays if anything fails.
        volumes: 8-bit patients to compare on; read one at a time, whole, until there are `n_slices` slices.
        n_slices: slices to compare.
        allowed_voxels: how many of their voxels may lie on another side of the threshold.
        threads: processor threads; 0 leaves the number to ONNX Runtime.

    Raises:
        UserError: not a portable file of ours, no 8-bit volumes, a difference, a full disk. Nothing is left behind.
    """
    if target.resolve() == path.resolve():
        raise UserError(f"{target}: would replace the portable file; give another name")
    model, metadata = _load(path)
    whole = build_standalone(model, metadata)
    with atomic_path(target) as temporary:
        write_model(whole, temporary)
        report = compare(path, temporary, volumes, metadata, n_slices=n_slices, threads=threads)
        report.require(tolerance=_TOLERANCE, n_voxels=allowed_voxels)
    return StandaloneResult(
        path=target,
        size_bytes=target.stat().st_size,
        portable_size_bytes=path.stat().st_size,
        portable_sha256=sha256_of_file(path),
        sha256=sha256_of_file(target),
        parity=report,
    )


def _load(path: Path) -> tuple[onnx.ModelProto, ModelMetadata]:
    read_contents(path)  # is whole, by its checksum
    try:
        # Files of ours keep all within; what another refers to is not opened.
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path}: not a whole ONNX model; copy it again or export the network again") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = ModelMetadata.from_json(properties.get(METADATA_KEY), source=str(path))
    if any(node.domain == native.DOMAIN for node in model.graph.node):
        raise UserError(f"{path}: an accelerated file, which needs this package; give the portable one")
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if names != [*INPUTS, *OUTPUTS]:
        raise UserError(f"{path}: graph inputs and outputs are {', '.join(names)}; give a portable file")
    return model, metadata
