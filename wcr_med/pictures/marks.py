"""What stands in a picture of a slice beside the image, and where: the same for pixels and for SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

NOTICE = "research use only"
"""In every picture."""

SIDES_UNKNOWN = "sides unknown"
"""In a picture whose files do not tell which side is the patient's right."""

_FLAIR = "flair"
_BAR_SHARE = 0.3  # of the picture's width, at most
_LONGEST = 22  # characters of a sequence's name


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an outline is drawn. Colours are of Okabe and Ito's palette; line styles repeat what they say.

    Attributes:
        colour: "#rrggbb".
        width: in pixels of the screen.
        dashes: lengths drawn and left out, in turn, in pixels of the screen; empty: solid.
        words: for a legend.
    """

    colour: str
    width: float
    dashes: tuple[float, ...]
    words: str


STYLES: Mapping[str, Style] = {
    "reference": Style(colour="#f0e442", width=2.4, dashes=(), words="solid"),
    "dense": Style(colour="#56b4e9", width=1.7, dashes=(7.0, 3.5), words="dashed"),
    "pruned": Style(colour="#ff8d4d", width=2.0, dashes=(1.6, 2.8), words="dotted"),
    "network": Style(colour="#ff8d4d", width=2.4, dashes=(), words="solid"),
}
"""By what is outlined. A reference is the widest, so that it shows beneath the others; a network alone is solid."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What is known of a slice.

    Attributes:
        sequence: name of the channel that is shown.
        number: of the slice within the volume, from 1.
        n_slices: of the volume.
        sides_known: the patient's right is on the left of the picture, as radiologists have it; False: not known.
        column_mm: width of a pixel; `None`: not known, and the scale is in pixels.
        legend: outlines that are named within the picture: keys of `STYLES`, and words.
    """

    sequence: str
    number: int
    n_slices: int
    sides_known: bool
    column_mm: float | None
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Text:
    """Words in white. `x` and `y`: of the baseline's start, middle or end, from the image's upper left corner."""

    x: float
    y: float
    size: float
    words: str
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A horizontal line from (`x`, `y`), `length` long: the scale (`style` None), or the sample of an outline."""

    x: float
    y: float
    length: float
    style: str | None = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The marks of a picture, in the unit of its width. Words stand in black bands, off the image.

    Attributes:
        above: height of the band above the image; `below` of the one below.
        texts: words; R and L alone lie on the image.
        rules: scale and samples.
    """

    above: float
    below: float
    texts: tuple[Text, ...]
    rules: tuple[Rule, ...]


def background_channel(names: Sequence[str]) -> int:
    """Which channel is shown, from 0: the first whose name says FLAIR, on which the lesions are read; else the first.

    A choice of display alone; the network sees all of them. The name stands in the picture.
    """
    return next((channel for channel, name in enumerate(names) if _FLAIR in name.casefold()), 0)


def scale_bar(width: float, column_mm: float | None) -> tuple[float, str]:
    """A round length of at most 0.3 of the picture's width: in pixels across, and in words.

    Args:
        width: of the picture in pixels of the slice.
        column_mm: width of a pixel; `None`: the length is one of pixels.
    """
    unit = column_mm if column_mm else 1.0
    most = _BAR_SHARE * width * unit
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))
    return length / unit, f"{length:g} {'mm' if column_mm else 'px'}"


def frame(
    marks: Marks, *, width: float, height: float, columns: float, size: float | None = None, whole: float | None = None
) -> Frame:
    """Place the marks around an image.

    Args:
        marks: what is known of the slice.
        width: of the image; every length of the frame is in its unit.
        height: of the image.
        columns: pixels of the slice across the image.
        size: of letters; `None`: a twentieth of the width.
        whole: width of several images side by side, the first of which has the marks; `None`: one image.
    """
    size = width / 20 if size is None else size
    whole = width if whole is None else whole
    edge = 0.4 * size
    row = 1.6 * size
    texts = [Text(x=edge, y=-0.5 * size, size=size, words=_heading(marks))]
    if marks.sides_known:
        for x, words, anchor in ((edge, "R", "start"), (width - edge, "L", "end")):
            texts.append(Text(x=x, y=height / 2, size=1.4 * size, words=words, anchor=anchor))  # type: ignore[arg-type]
    else:
        texts.append(Text(x=whole - edge, y=-0.5 * size, size=size, words=SIDES_UNKNOWN, anchor="end"))
    length, words = scale_bar(columns, marks.column_mm)
    bar = length * width / columns
    baseline = height + 1.1 * size
    rules = [Rule(x=edge, y=baseline - 0.3 * size, length=bar)]
    texts.append(Text(x=2 * edge + bar, y=baseline, size=size, words=words))
    texts.append(Text(x=whole - edge, y=baseline, size=size, words=NOTICE, anchor="end"))
    x = edge
    for style, named in marks.legend:
        rules.append(Rule(x=x, y=baseline + row - 0.3 * size, length=1.6 * size, style=style))
        texts.append(Text(x=x + 2 * size, y=baseline + row, size=size, words=named))
        x += (3 + 0.55 * len(named)) * size
    return Frame(above=row, below=row * (2 if marks.legend else 1), texts=tuple(texts), rules=tuple(rules))


def _heading(marks: Marks) -> str:
    name = marks.sequence
    short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\u2026"
    return f"{short}, slice {marks.number} of {marks.n_slices}"
