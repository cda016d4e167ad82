"""Images recognised by their pixels, however a file stores them."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt


def pixel_hash(values: npt.NDArray[Any]) -> str:
    """The SHA-256 of decoded pixels: another compression, tag or date of a file does not change it.

    Hashed are one line of ASCII, "uint8 20 256 256 3" and a line feed for 20 slices of 256 x 256 pixels in 3 channels
    of 8 bits, and then the values in that order, the last axis fastest, numbers of several bytes in little-endian
    order.

    Args:
        values: any shape and number type: a volume's image_SHWC, or its mask_SHW of 0 and 1.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> pixel_hash(np.zeros((1, 2, 2), np.uint8))[:8]
        'beb77a98'
    """
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    head = " ".join([values.dtype.name, *map(str, values.shape)])
    return hashlib.sha256(f"{head}\n".encode() + little.tobytes()).hexdigest()
