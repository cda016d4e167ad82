"""How weights lie in the file: the forms of their positions and values, and the graph that decodes them."""

from wcr_med.export.storage.choice import Stored, store
from wcr_med.export.storage.forms import EncodedKernel, Form, Storage, TensorStorage, Values
from wcr_med.export.storage.kernels import OPERATOR_FORMS, decode_kernel, encode_kernel
from wcr_med.export.storage.positions import decode_gap8, encode_gap8

__all__ = [
    "OPERATOR_FORMS",
    "EncodedKernel",
    "Form",
    "Storage",
    "Stored",
    "TensorStorage",
    "Values",
    "decode_gap8",
    "decode_kernel",
    "encode_gap8",
    "encode_kernel",
    "store",
]
