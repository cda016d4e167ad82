"""A matplotlib figure as one `<svg>` element to be put into a page.

The text stays text, so that it can be searched, copied and read aloud. It is laid out with matplotlib's own font, which
is wider than the system fonts that show it, so nothing that fits here overlaps there.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from wcr_med.report.figures import BLUE, GREY, ORANGE, SKY, STYLE, VERMILLION

INK, GREEN, LIGHT = "#1b1f24", "#009E73", "#c9d0d6"
DENSE_COLOUR, PRUNED_COLOUR = BLUE, VERMILLION
WIDTH_IN = 7.1
"""Width of a figure: the text of an A4 page with its margins, so that a point in print is a point here."""

__all__ = [
    "BLUE",
    "DENSE_COLOUR",
    "GREEN",
    "GREY",
    "INK",
    "LIGHT",
    "ORANGE",
    "PRUNED_COLOUR",
    "SKY",
    "VERMILLION",
    "WIDTH_IN",
    "figure_style",
    "note_only",
    "render",
]

_FONTS = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
_STYLE = {
    **STYLE,
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same layout on every machine
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a patient's name may hold a dollar sign
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@contextmanager
def figure_style() -> Iterator[None]:
    """The settings under which every figure of a report is made and rendered."""
    with mpl.rc_context(_STYLE):
        yield


def render(figure: Figure, prefix: str, *, title: str, description: str) -> str:
    """The figure as an `<svg>` element: as wide as its place, the same bytes for the same figure.

    An artist whose gid is "mark-NAME" becomes a group of class NAME.

    Args:
        figure: made and rendered under `figure_style`.
        prefix: begins every id, so that no two figures of a page share one: a letter, then letters, digits, "-", "_".
        title: what the figure is, a few words.
        description: what it shows, in figures: the alternative text.

    Raises:
        ValueError: the prefix cannot begin an id.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"prefix {prefix!r} cannot begin an id")
    figure.patch.set_visible(False)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = ET.fromstring(stream.getvalue())  # noqa: S314 - written two lines above
    used = _used_ids(drawn)
    ids: dict[str, str] = {}
    root = ET.Element("svg", {"xmlns": _SVG, "viewBox": drawn.get("viewBox", ""), "role": "img", "class": "plot"})
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    root.set("style", f"width: 100%; height: auto; font-family: {_FONTS}")
    root.set("stroke-linejoin", "round")
    ET.SubElement(root, "title", {"id": f"{prefix}-title"}).text = title
    ET.SubElement(root, "desc", {"id": f"{prefix}-desc"}).text = description
    for child in drawn:
        _append(root, child, prefix, used, ids)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def note_only(text: str, prefix: str, *, title: str) -> str:
    """A figure that says why there is nothing to draw."""
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.5))
        figure.text(0.0, 0.5, text, va="center", color=GREY, style="italic")
        return render(figure, prefix, title=title, description=text)


def _used_ids(drawn: ET.Element) -> set[str]:
    used = set()
    for element in drawn.iter():
        for name, value in element.attrib.items():
            if name == _XLINK:
                used.add(value.removeprefix("#"))
            used.update(_REFERENCE.findall(value))
    return used


def _append(parent: ET.Element, source: ET.Element, prefix: str, used: set[str], ids: dict[str, str]) -> None:
    """Copy an element: short ids, no font of its own, two decimals, no style that would reach the whole page."""
    tag = source.tag.rpartition("}")[2]
    if tag == "style":
        return
    attributes = {}
    for name, value in source.attrib.items():
        if name == "id":
            if value in used:
                attributes["id"] = _short(value, prefix, ids)
            elif value.startswith("mark-"):
                attributes["class"] = value.removeprefix("mark-")
        elif name == _XLINK:
            attributes["href"] = "#" + _short(value.removeprefix("#"), prefix, ids)
        elif name == "style":
            attributes["style"] = _tidy(value, prefix, ids)
        elif not value.startswith("rotate(-0 "):
            value = _REFERENCE.sub(lambda m: f"url(#{_short(m[1], prefix, ids)})", value)
            attributes[name] = _NUMBER.sub(
                lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), " ".join(value.split())
            )
    text = source.text if tag in ("text", "tspan") else None
    children = list(source)
    if tag in ("g", "defs") and not children and not text:
        return
    if tag == "g" and not attributes:  # a bare group groups nothing
        for child in children:
            _append(parent, child, prefix, used, ids)
        return
    styles = {child.get("style") for child in children}
    shared = styles.pop() if tag == "g" and len(styles) == 1 and all(_is_mark(child) for child in children) else None
    if shared:  # said once for all marks of a series
        attributes["style"] = _tidy(shared, prefix, ids)
        children = [
            ET.Element(child.tag, {k: v for k, v in child.attrib.items() if k != "style"}) for child in children
        ]
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    for child in children:
        _append(element, child, prefix, used, ids)


def _short(name: str, prefix: str, ids: dict[str, str]) -> str:
    return ids.setdefault(name, f"{prefix}-{len(ids)}")


def _is_mark(element: ET.Element) -> bool:
    return element.tag.endswith("}use")


def _tidy(style: str, prefix: str, ids: dict[str, str]) -> str:
    return _without_font(_REFERENCE.sub(lambda match: f"url(#{_short(match[1], prefix, ids)})", style))


def _without_font(style: str) -> str:
    kept = []
    for part in map(str.strip, style.split(";")):
        if part.startswith("font:"):  # some versions write the short form: weight, size and family in one
            size = next((word for word in part.split() if word.endswith("px")), None)
            kept += [f"font-size: {size}"] if size else []
            kept += [f"font-weight: {word}" for word in part.split() if word.isdigit()]
        elif part and not part.startswith("font-family"):
            kept.append(part)
    return "; ".join(kept)
