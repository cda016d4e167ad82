"""Slices as a radiologist reads them, the same in the report and in the files of `wcr-med infer --overlays`.

One sequence in grey, outlines, sides, scale, slice number, "research use only". `marks` says what stands in a picture
and where, `outlines` and `window` make it of masks and images; `raster` puts it down as pixels, the report's page as
SVG. Needs numpy and pillow alone.
"""

from wcr_med.pictures.marks import STYLES, Frame, Marks, Style, background_channel, frame
from wcr_med.pictures.outlines import outlines, small_parts, svg_path, svg_rings
from wcr_med.pictures.raster import draw
from wcr_med.pictures.window import Box, data_uri, grey, head_box, window

__all__ = [
    "STYLES",
    "Box",
    "Frame",
    "Marks",
    "Style",
    "background_channel",
    "data_uri",
    "draw",
    "frame",
    "grey",
    "head_box",
    "outlines",
    "small_parts",
    "svg_path",
    "svg_rings",
    "window",
]
