"""One channel of a slice in grey: which part, how bright, and as a small picture inside a page."""

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

_AIR = 0.1  # of the brightest voxel; air and its noise lie below
_SPECKLE = 0.02  # of a row or column: fewer bright pixels than that are no head
_MARGIN = 0.04  # of the head's extent, on each side
_MOST_PIXELS = 320  # of a side; more is not seen at the size of the page
_QUALITY = 82
_MOST_VOXELS = 1 << 24  # of a volume that are looked at to find its window
_HIGHER = 1.5  # times the usual window, at most


@dataclass(frozen=True, kw_only=True)
class Box:
    """The part of every slice that is shown: rows `top` to `bottom` - 1, columns `left` to `right` - 1."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> int:
        """Height."""
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        """Width."""
        return self.right - self.left

    def cut(self, plane_HW: Array) -> Array:
        """The part of a slice."""
        return plane_HW[self.top : self.bottom, self.left : self.right]


def head_box(image_SHW: Array, masks_SHW: Array) -> Box:
    """The box of the head and of every mask in the given slices, with a small margin, within the image.

    Args:
        image_SHW: one channel, raw intensities.
        masks_SHW: non-zero in any mask.
    """
    bright_SHW = image_SHW > _AIR * max(float(image_SHW.max()), 0.0)
    ends = []
    for axis, size in ((2, image_SHW.shape[1]), (1, image_SHW.shape[2])):
        share = bright_SHW.mean(axis=axis).max(axis=0)
        occupied = np.flatnonzero((share > _SPECKLE) | masks_SHW.any(axis=(0, axis)))
        first, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (0, size - 1)
        air = round(_MARGIN * (last - first + 1)) + 1
        ends.append((max(0, first - air), min(size, last + 1 + air)))
    return Box(top=ends[0][0], bottom=ends[0][1], left=ends[1][0], right=ends[1][1])


def window(image_SHW: Array, masks_SHW: Array | None = None) -> tuple[float, float]:
    """Intensities shown as black and as white: 0 (or the least), and the 98th percentile of what is brighter than air.

    Fat of the scalp may be twice as bright as any lesion, and saturates. Where a lesion is brighter than that, white is
    the 98th percentile within the masks, though at most half as high again, or the rest would be dark. An image of one
    value gives a window of width 1. Of a large volume every n-th voxel along each axis is looked at.

    Args:
        image_SHW: one channel, raw intensities.
        masks_SHW: non-zero in any mask; `None`: not known.
    """
    step = max(1, math.ceil((image_SHW.size / _MOST_VOXELS) ** (1 / 3)))
    sample = image_SHW[:: min(step, len(image_SHW)), ::step, ::step]
    low, brightest = min(0.0, float(sample.min())), float(sample.max())
    bright = sample[sample > low + _AIR * (brightest - low)]
    high = float(np.percentile(bright, 98)) if bright.size else low
    inside = image_SHW[masks_SHW != 0] if masks_SHW is not None else image_SHW[:0]
    if inside.size:
        high = max(high, min(float(np.percentile(inside, 98)), low + _HIGHER * (high - low)))
    return low, high if high > low else low + 1.0


def grey(plane_HW: Array, limits: tuple[float, float]) -> Array:
    """A slice as uint8 levels of grey, of the same shape.

    Args:
        plane_HW: raw intensities.
        limits: shown as black and as white; beyond them the picture saturates.
    """
    low, high = limits
    levels_HW: Array = np.clip((plane_HW.astype(np.float32) - low) / (high - low), 0, 1) * 255
    grey_HW: Array = np.rint(levels_HW).astype(np.uint8)
    return grey_HW


def data_uri(plane_HW: Array, limits: tuple[float, float]) -> str:
    """A slice as a data URI of a grey JPEG, at most 320 pixels a side.

    Args:
        plane_HW: raw intensities.
        limits: see `grey`.
    """
    image = Image.fromarray(grey(plane_HW, limits))
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
