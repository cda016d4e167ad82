"""What the names in a folder say of its slices: their order, which are missing, stand twice, or are not read."""

import re
import unicodedata
from collections.abc import Container, Sequence
from itertools import pairwise
from pathlib import Path

from wcr_med.volumes import FileError
from wcr_med.volumes.names import is_image, looks_like_an_image

MASK_END = "_mask"
"""How the stem of a reference mask beside its slice ends, in lower case."""

_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<after>\D*)", re.DOTALL | re.ASCII)
_SHOWN = 5


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people do: 2 before 10; letters alike however Unicode composes them."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def is_mask(path: Path) -> bool:
    """Whether the name is that of a reference mask."""
    return is_image(path) and path.stem.lower().endswith(MASK_END)


def require_one_file_each(paths: Sequence[Path]) -> None:
    """Refuse a slice that stands in two files: each would count, and both have one mask.

    Raises:
        FileError: the second file, with the name of the first.
    """
    first: dict[str, Path] = {}
    for path in paths:
        other = first.setdefault(path.stem, path)
        if other != path:
            problem = f"is the slice of {other.name} once more, by its name; keep one of them"
            raise FileError(path, "repeated-slice", problem)


def unread(files: Sequence[Path], taken: Container[Path]) -> tuple[str, ...]:
    """Names of the files that look like images and are not read; reference masks are none of them."""
    return tuple(path.name for path in files if path not in taken and looks_like_an_image(path) and not is_mask(path))


def missing_slices(paths: Sequence[Path]) -> str:
    """Which numbers are missing among slices whose names differ in a number alone; "" where none are.

    Where every second slice is there, as some exports have it, none is missing.
    """
    found = [_NUMBERED.fullmatch(path.stem) for path in paths]
    names = {(match["before"], match["after"]) for match in found if match}
    numbers = sorted({int(match["number"]) for match in found if match})
    if len(names) != 1 or None in found or len(numbers) < 3:
        return ""
    step = min(after - before for before, after in pairwise(numbers))
    missing = [number for before, after in pairwise(numbers) for number in range(before + step, after, step)][:1000]
    if not missing:
        return ""
    shown = ", ".join(map(str, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
    noun, verb = ("slice", "is") if len(missing) == 1 else ("slices", "are")
    return f"{noun} {shown} {verb} missing between {numbers[0]} and {numbers[-1]}, so that volumes are too small"
