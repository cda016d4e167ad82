"""Pictures of slices with the outline of the mask, for a look at what was found."""

from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.preprocess import Survey

Array = npt.NDArray[Any]

_COLOUR = (255, 255, 0)  # yellow: seen on grey and by the colour-blind
_LEAST_SIDE = 512  # pixels; smaller slices are enlarged a whole number of times
_DARKEST, _BRIGHTEST = -2.0, 3.0  # spreads from the centre that are shown as black and white


def picture(image_HWC: Array, mask_HW: Array, known: Survey) -> Array:
    """A slice with the border of the mask drawn on the inside of its outermost pixels.

    8-bit images of three channels are shown as they are; three channels of another kind as red, green and blue, each
    windowed by its foreground; else the first channel in grey.

    Args:
        image_HWC: raw intensities.
        mask_HW: above zero is lesion.
        known: of the volume that the slice is from.

    Returns:
        uint8 (rows, columns, 3), enlarged so that the shorter side has at least 512 pixels.
    """
    rgb_HW3 = _shown(image_HWC, known)
    scale = max(1, -(-_LEAST_SIDE // min(mask_HW.shape)))
    large_HW3: Array = rgb_HW3.repeat(scale, axis=0).repeat(scale, axis=1)
    inside_HW = (np.asarray(mask_HW) > 0).repeat(scale, axis=0).repeat(scale, axis=1)
    large_HW3[_border(inside_HW)] = _COLOUR
    return large_HW3


def _shown(image_HWC: Array, known: Survey) -> Array:
    if image_HWC.dtype == np.uint8 and image_HWC.shape[2] == 3:
        return image_HWC
    channels = slice(0, 3 if image_HWC.shape[2] == 3 else 1)
    scaled = (image_HWC[..., channels] - known.centre_C[channels]) / known.spread_C[channels]
    grey = np.clip((scaled - _DARKEST) / (_BRIGHTEST - _DARKEST), 0, 1) * 255
    return np.broadcast_to(np.rint(grey).astype(np.uint8), (*image_HWC.shape[:2], 3))


def _border(inside_HW: Array) -> Array:
    """Pixels inside with a neighbour outside; beyond the picture is outside."""
    padded = np.pad(inside_HW, 1)
    within = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border_HW: Array = inside_HW & ~within
    return border_HW
