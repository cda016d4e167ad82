"""A kernel array to the arrays that are stored, and back."""

from collections.abc import Sequence

import numpy as np

from wcr_med.export.storage import positions as codes_of
from wcr_med.export.storage.forms import Array, EncodedKernel, Form, Storage, Values
from wcr_med.export.storage.values import restored_values, stored_values

OPERATOR_FORMS: tuple[Form, ...] = ("dense", "gap8", "rice")
"""Forms that the accelerator reads: all but sparse_value, which is an attribute of a node of its own."""


def encode_kernel(
    kernel: Array,
    *,
    storage: Storage = "auto",
    values: Values = "fp32",
    scale_axis: int = 0,
    among: Sequence[Form] = OPERATOR_FORMS,
    name: str = "the kernel",
) -> EncodedKernel:
    """Encode a kernel.

    Args:
        kernel: float32, rank 1 or more, not empty.
        storage: the form, or "auto": of `among` the one with the fewest bytes of arrays, the first of them on a tie.
        values: type of the values.
        scale_axis: axis of the output channels: 0 for a convolution, 1 for a transposed one. Only int8 uses it.
        among: the forms that "auto" chooses from.
        name: of the kernel, for messages.

    Raises:
        UserError: the values cannot be stored in that type; the message names the kernel.
        ValueError: the kernel is empty or not float32.
    """
    if kernel.dtype != np.float32 or kernel.size == 0 or kernel.ndim == 0:
        raise ValueError(f"expected a non-empty float32 kernel, not {kernel.dtype} of shape {kernel.shape}")
    stored, scale = stored_values(kernel, values, scale_axis=scale_axis, name=name)
    forms = among if storage == "auto" else (storage,)
    candidates = [encode_values(stored, scale, form) for form in forms]
    return min(candidates, key=lambda candidate: candidate.size_bytes)


def encode_values(stored: Array, scale: Array | None, form: Form) -> EncodedKernel:
    """Encode values that have their type already; see `stored_values` and `EncodedKernel`."""
    flat = np.ascontiguousarray(stored).reshape(-1)
    arrays: dict[str, Array]
    if form == "dense":
        arrays = {"values": stored}
    elif form == "gap8":
        gaps, kept = codes_of.encode_gap8(flat)
        arrays = {"gaps": gaps, "values": kept}
    else:
        positions = codes_of.stored_positions(flat)
        arrays = {**_positions(positions, form), "values": flat[positions]}
    if scale is not None:
        arrays["scale"] = scale
    return EncodedKernel(form=form, arrays=arrays, shape=stored.shape)


def decode_kernel(encoded: EncodedKernel, *, scale_axis: int = 0) -> Array:
    """The float32 kernel that an encoding stands for."""
    arrays = encoded.arrays
    kept = arrays["values"]
    n = int(np.prod(encoded.shape))
    if encoded.form == "dense":
        codes = kept
    elif encoded.form == "gap8":
        codes = codes_of.decode_gap8(arrays["gaps"], kept, n)
    elif encoded.form == "sparse_value":
        codes = codes_of.scatter(arrays["positions"], kept, n)
    else:
        positions = codes_of.decode_rice(arrays["low"], arrays["high"], int(arrays["n_low_bits"][0]), kept.size)
        codes = codes_of.scatter(positions, kept, n)
    return restored_values(codes.reshape(encoded.shape), arrays.get("scale"), scale_axis=scale_axis)


def _positions(positions: Array, form: Form) -> dict[str, Array]:
    if form == "sparse_value":
        return {"positions": positions}
    low, high, n_low_bits = codes_of.encode_rice(positions)
    return {"low": low, "high": high, "n_low_bits": np.array([n_low_bits], dtype=np.int64)}
