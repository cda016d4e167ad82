"""A picture of a slice as pixels."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wcr_med.pictures.marks import STYLES, Marks, Style, Text, frame
from wcr_med.pictures.outlines import outlines, small_parts
from wcr_med.pictures.window import grey

Array = npt.NDArray[Any]

_LEAST_SIDE = 512  # pixels; smaller slices are enlarged a whole number of times
_SMALLEST, _LARGEST, _LETTERS = 13.0, 30.0, 26  # size of letters in pixels, and how many make the width
_RING = 0.03  # radius of the ring around a small part, of the width
_HALO = (0, 0, 0)
_WHITE = (255, 255, 255)
_BAR = Style(colour="#ffffff", width=2.0, dashes=(), words="scale")
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def draw(
    plane_HW: Array,
    limits: tuple[float, float],
    masks: Mapping[str, Array],
    marks: Marks,
    *,
    pixel_aspect: float = 1.0,
) -> Array:
    """Draw a slice with outlines and marks.

    Args:
        plane_HW: one channel, raw intensities.
        limits: intensities shown as black and as white.
        masks: to be outlined, each of the shape of the slice, non-zero inside, by their key in `STYLES`; the first lies
            beneath.
        marks: what is known of the slice.
        pixel_aspect: height of a pixel over its width.

    Returns:
        uint8 (rows, columns, 3). The image's shorter side is enlarged a whole number of times to 512 pixels and more;
        the bands with the words add to its height.
    """
    rows, columns = plane_HW.shape
    times = max(1, -(-_LEAST_SIDE // max(1, round(min(rows * pixel_aspect, columns)))))
    width, height = columns * times, max(1, round(rows * times * pixel_aspect))
    size = min(max(width / _LETTERS, _SMALLEST), _LARGEST)
    placed = frame(marks, width=width, height=height, columns=columns, size=size)
    above = round(placed.above)
    canvas = Image.new("RGB", (width, above + height + round(placed.below)))
    image = Image.fromarray(grey(plane_HW, limits)).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(image, (0, above))
    pen = ImageDraw.Draw(canvas)
    scale = np.array([width / columns, height / rows])
    found = {key: outlines(mask_HW) for key, mask_HW in masks.items()}
    lines = [(key, line * scale + (0, above)) for key, parts in found.items() for line in parts]
    for key, line in lines:
        _stroke(pen, np.vstack([line, line[:1]]), _HALO, STYLES[key].width + 2, ())
    for key, line in lines:
        _stroke(pen, np.vstack([line, line[:1]]), STYLES[key].colour, STYLES[key].width, STYLES[key].dashes)
    for x, y in dict.fromkeys(middle for parts in found.values() for middle in small_parts(parts)):
        centre, radius = np.array([x, y]) * scale + (0, above), _RING * width
        pen.ellipse([*(centre - radius).tolist(), *(centre + radius).tolist()], outline=_WHITE, width=1)
    for rule in placed.rules:
        ends = np.array([[rule.x, rule.y + above], [rule.x + rule.length, rule.y + above]])
        style = STYLES[rule.style] if rule.style else _BAR
        _stroke(pen, ends, style.colour, style.width, style.dashes)
    for text in placed.texts:
        _write(pen, text, above)
    return np.asarray(canvas)


def _write(pen: ImageDraw.ImageDraw, text: Text, above: int) -> None:
    place = (text.x, text.y + above)
    font = ImageFont.load_default(size=text.size)
    pen.text(place, text.words, _WHITE, font, anchor=_ANCHORS[text.anchor], stroke_width=1, stroke_fill=_HALO)


def _stroke(
    pen: ImageDraw.ImageDraw,
    line_N2: Array,
    colour: str | tuple[int, int, int],
    width: float,
    dashes: tuple[float, ...],
) -> None:
    for part in _dashed(line_N2, dashes):
        pen.line([(float(x), float(y)) for x, y in part], fill=colour, width=max(1, round(width)), joint="curve")


def _dashed(line_N2: Array, dashes: tuple[float, ...]) -> Iterator[Array]:
    """The parts of a line that are drawn."""
    if not dashes:
        yield line_N2
        return
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line_N2, axis=0).T))])
    place, turn = 0.0, 0
    while place < along[-1]:
        end = min(place + dashes[turn % len(dashes)], along[-1])
        if turn % 2 == 0:
            inner = along[(along > place) & (along < end)]
            stops = np.concatenate([[place], inner, [end]])
            yield np.stack([np.interp(stops, along, line_N2[:, axis]) for axis in (0, 1)], axis=1)
        place, turn = end, turn + 1
