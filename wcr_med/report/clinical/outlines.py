"""Outlines of masks as SVG paths.

The unit is the pixel of the slice; the pixel in row r and column c covers r to r + 1 and c to c + 1.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from skimage import measure

Array = npt.NDArray[Any]

TOLERANCE_PX = 0.25
"""How far simplifying may move an outline. The outline itself cuts the corners of pixels, by 0.35 at most."""


def outline(mask_HW: Array) -> str:
    """The outline of a mask as the `d` of an SVG path; "" for an empty mask.

    Every part and every hole is a closed line half way between the centres of pixels inside and outside (marching
    squares at 0.5), simplified after Douglas and Peucker. With the fill rule "evenodd" the path covers the mask, up to
    the cut corners.

    Args:
        mask_HW: (rows, columns), non-zero inside.
    """
    padded_HW = np.pad(np.asarray(mask_HW) != 0, 1).astype(np.float32)  # closes what touches the border
    lines = []
    for line_N2 in measure.find_contours(padded_HW, 0.5, fully_connected="high"):
        simple_N2 = measure.approximate_polygon(line_N2, TOLERANCE_PX)
        if len(simple_N2) < 4:  # a line that closes on itself needs three corners: a single pixel keeps its shape
            simple_N2 = line_N2
        lines.append("M" + "L".join(f"{column - 0.5:g} {row - 0.5:g}" for row, column in simple_N2[:-1]) + "Z")
    return "".join(lines)
