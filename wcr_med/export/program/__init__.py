"""What one fused node computes, and its encoding as integers."""

from wcr_med.export.program.encoding import decode_program, encode_program
from wcr_med.export.program.operations import (
    NONE,
    Activate,
    Activation,
    Add,
    Convolution,
    Form,
    Kind,
    MaxPool,
    Op,
    Pads,
    Pair,
    Program,
    Upsample,
)

__all__ = [
    "NONE",
    "Activate",
    "Activation",
    "Add",
    "Convolution",
    "Form",
    "Kind",
    "MaxPool",
    "Op",
    "Pads",
    "Pair",
    "Program",
    "Upsample",
    "decode_program",
    "encode_program",
]
