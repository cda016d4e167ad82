"""How weights lie in the file: the forms of their positions and values, and the graph that decodes them."""

from wcr_med.export.storage.again import dense_again
from wcr_med.export.storage.choice import Stored, store
from wcr_med.export.storage.forms import AUTO_FORMS, MIN_GAIN_BYTES, EncodedKernel, Form, Storage, TensorStorage, Values
from wcr_med.export.storage.kernels import OPERATOR_FORMS, decode_kernel, encode_kernel
from wcr_med.export.storage.positions import decode_gap8, encode_gap8

__all__ = [
    "AUTO_FORMS",
    "MIN_GAIN_BYTES",
    "OPERATOR_FORMS",
    "EncodedKernel",
    "Form",
    "Storage",
    "Stored",
    "TensorStorage",
    "Values",
    "decode_gap8",
    "decode_kernel",
    "dense_again",
    "encode_gap8",
    "encode_kernel",
    "store",
]
