"""What an ONNX file holds and whether it may be opened, told before ONNX Runtime sees it."""

from wcr_med.onnx_file.check import TooMuchMemoryError, require_openable
from wcr_med.onnx_file.checksum import CHECKSUM_KEY, SEAL_BYTES, SEAL_KEYS, seal, seal_file, unsealed
from wcr_med.onnx_file.contents import ModelContents, Node, Tensor
from wcr_med.onnx_file.reader import MAX_FILE_BYTES, read_contents

__all__ = [
    "CHECKSUM_KEY",
    "MAX_FILE_BYTES",
    "SEAL_BYTES",
    "SEAL_KEYS",
    "ModelContents",
    "Node",
    "Tensor",
    "TooMuchMemoryError",
    "read_contents",
    "require_openable",
    "seal",
    "seal_file",
    "unsealed",
]
