"""Outlines of masks as closed lines.

The unit is the pixel of the slice; the pixel in row r and column c covers r to r + 1 and c to c + 1.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TOLERANCE_PX = 0.25
"""How far simplifying may move an outline. The outline itself cuts the corners of pixels, by 0.35 at most."""

SMALL_PX = 4.0
"""Parts that reach no further in either direction are ringed: they are lost to the eye at the size of the page."""

_STEPS_XY = ((1, 0), (0, 1), (-1, 0), (0, -1))  # to the right, down, left, up


def outlines(mask_HW: Array) -> tuple[Array, ...]:
    """Every part and every hole of a mask as a closed line, half way between the centres of pixels inside and outside.

    The lines of marching squares at 0.5; parts that touch at a corner are one. With the fill rule "evenodd" they cover
    the mask, up to the cut corners.

    Args:
        mask_HW: (rows, columns), non-zero inside. What lies beyond is outside.

    Returns:
        For each line its corners, float64 (N, 2): x and y. The first does not stand again at the end. Without a pixel
        inside, nothing.
    """
    inside = np.pad(np.asarray(mask_HW) != 0, 1)
    height, width = inside.shape[0] + 1, inside.shape[1] + 1
    # Sides of pixels with inside on the right hand, by the corner where they start.
    sides = np.zeros((4, height, width), bool)
    below, above = inside[1:], inside[:-1]
    right, left = inside[:, 1:], inside[:, :-1]
    sides[0, 1:-1, :-1] = below & ~above
    sides[1, :-1, 1:-1] = left & ~right
    sides[2, 1:-1, 1:] = above & ~below
    sides[3, 1:, 1:-1] = right & ~left
    steps = (1, width, -1, -width)
    there = [plane.ravel().tolist() for plane in sides]
    walked: set[int] = set()  # sides to the right; every line has one
    lines = []
    for start in np.flatnonzero(sides[0]).tolist():
        if start in walked:
            continue
        corner, way = start, 0
        places: list[int] = []
        ways: list[int] = []
        while not places or (corner, way) != (start, 0):
            if way == 0:
                walked.add(corner)
            places.append(corner)
            ways.append(way)
            corner += steps[way]
            # Turning left at a corner that two parts share joins them; elsewhere there is one way on.
            way = next(turn % 4 for turn in (way + 3, way, way + 1) if there[turn % 4][corner])
        y, x = np.divmod(np.array(places), width)
        middle = 0.5 * np.array(_STEPS_XY)[ways]
        lines.append(np.stack([x, y], axis=1) + middle - 1.0)
    return tuple(lines)


def svg_path(lines: tuple[Array, ...]) -> str:
    """Lines as the `d` of an SVG path, simplified after Douglas and Peucker; "" without lines."""
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in _simplified(line).tolist()) + "Z" for line in lines)


def small_parts(lines: tuple[Array, ...]) -> tuple[tuple[float, float], ...]:
    """The middles, x and y, of parts that reach no further than `SMALL_PX` in either direction; holes are none."""
    return tuple(
        (float(middle[0]), float(middle[1]))
        for line in lines
        if np.ptp(line, axis=0).max() <= SMALL_PX and _turns_right(line)
        for middle in [(line.min(axis=0) + line.max(axis=0)) / 2]
    )


def _turns_right(line_N2: Array) -> bool:
    """Around a part, whose inside is on the right hand; around a hole a line turns left."""
    x, y = line_N2.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) > 0


def svg_rings(middles: Iterable[tuple[float, float]], radius: float) -> str:
    """Circles as the `d` of an SVG path, each place once; "" without any."""
    half = f"a{radius:g} {radius:g} 0 1 0 "
    return "".join(
        f"M{x - radius:g} {y:g}{half}{2 * radius:g} 0{half}{-2 * radius:g} 0Z" for x, y in dict.fromkeys(middles)
    )


def _simplified(line_N2: Array) -> Array:
    """The corners of a closed line that are needed to stay within `TOLERANCE_PX` of it; three at least."""
    ring = np.vstack([line_N2, line_N2[:1]])
    kept = np.zeros(len(ring), bool)
    kept[[0, -1]] = True
    waiting = [(0, len(ring) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        away = _distance(ring[first + 1 : last], ring[first], ring[last])
        if away.max() > TOLERANCE_PX:
            middle = first + 1 + int(away.argmax())
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    simple = ring[kept][:-1]
    return simple if len(simple) > 2 else line_N2


def _distance(points_N2: Array, start_2: Array, end_2: Array) -> Array:
    """From the straight line through start and end; from the point where both are one."""
    along = end_2 - start_2
    length = float(np.hypot(*along))
    away = points_N2 - start_2
    distance: Array
    if length == 0:
        distance = np.hypot(away[:, 0], away[:, 1])
    else:
        distance = np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]) / length
    return distance
