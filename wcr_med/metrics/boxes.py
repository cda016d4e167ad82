"""The smallest box that holds a mask: most of a head is not lesion, and need not be looked at."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bounding_box(mask: Array) -> tuple[slice, ...] | None:
    """A slice for each axis, or `None` if the mask is empty.

    Args:
        mask: bool, any number of axes.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        if not len(occupied):
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)
