"""Values of a kernel as float32, float16, or int8 with one scale an output channel."""

import numpy as np

from wcr_med.errors import UserError
from wcr_med.export.storage.forms import Array, Values

LOSSY: dict[Values, Values] = {"int8": "fp16", "fp16": "fp32"}
"""Forms that change values -> the next better one."""

_LARGEST_CODE = 127


def stored_values(
    kernel: Array, values: Values, *, scale_axis: int, name: str = "the kernel"
) -> tuple[Array, Array | None]:
    """The values as they are stored, and their scales.

    Args:
        kernel: float32, rank 1 or more.
        values: fp32 keeps every bit. fp16 rounds to nearest; what is below half its smallest number becomes zero. int8
            is symmetric: the largest magnitude of an output channel is 127 times its scale.
        scale_axis: axis of the output channels: 0 for a convolution, 1 for a transposed one.
        name: of the kernel, for messages.

    Returns:
        The codes, float32, float16 or int8 with the kernel's shape, zero at least where the kernel is; and for int8
        the scales float32 (kernel.shape[scale_axis],), otherwise `None`. A channel of zeros has scale 1.

    Raises:
        UserError: NaN or infinite values, or values beyond float16, with a lossy form.
    """
    if values == "fp32":
        return kernel, None
    if not np.isfinite(kernel).all():
        raise UserError(
            f"{name} holds values that are not finite: they cannot be stored as {values}; use --values fp32"
        )
    if values == "fp16":
        with np.errstate(over="ignore", under="ignore"):
            codes = kernel.astype(np.float16)
        if not np.isfinite(codes).all():
            raise UserError(
                f"{name} holds {np.abs(kernel).max():.3g}, more than float16 can (65504); use --values fp32"
            )
        return np.where(codes == 0, np.float16(0), codes), None  # -0.0 is no value worth a position
    return _int8(kernel, scale_axis)


def restored_values(codes: Array, scale: Array | None, *, scale_axis: int) -> Array:
    """The float32 kernel that codes and scales stand for; what the decoder in the graph computes."""
    if scale is None:
        return codes.astype(np.float32, copy=False)
    return codes.astype(np.float32) * along_axis(scale, codes.ndim, scale_axis)


def along_axis(scale: Array, ndim: int, axis: int) -> Array:
    """Scales (c,) shaped to multiply a kernel of `ndim` axes along one of them."""
    return scale.reshape([-1 if index == axis else 1 for index in range(ndim)])


def _int8(kernel: Array, axis: int) -> tuple[Array, Array]:
    others = tuple(index for index in range(kernel.ndim) if index != axis)
    # The smallest normal number: below it a float32 scale has too few digits, and may be zero.
    largest = np.abs(kernel).max(axis=others)
    scale = np.maximum(largest.astype(np.float64) / _LARGEST_CODE, np.finfo(np.float32).tiny).astype(np.float32)
    scale[largest == 0] = 1.0
    ratio = kernel.astype(np.float64) / along_axis(scale, kernel.ndim, axis)
    return np.clip(np.rint(ratio), -_LARGEST_CODE, _LARGEST_CODE).astype(np.int8), scale
