"""Model files on disk: the one place of the export that writes them."""

from pathlib import Path

from onnx import ModelProto

from wcr_med.onnx_file import seal


def write_model(model: ModelProto, path: Path) -> None:
    """Write a model with the checksum that its loader asks for; see `wcr_med.onnx_file.checksum`."""
    path.write_bytes(seal(model.SerializeToString()))
