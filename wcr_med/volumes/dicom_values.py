"""Elements of a DICOM header as numbers and text. Whatever is damaged ends as one line that names file and element.

pydicom converts an element when it is asked for, and raises what the damage happens to cause; an element that is there
but empty gives `None` where `get` was told another default.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydicom.dataset import Dataset

from wcr_med.volumes.volume import FileError

_Value = TypeVar("_Value")
_LONGEST = 60  # characters of a value in a message


def number(path: Path, image: Dataset, keyword: str, *, empty: float | None = None) -> float:
    """One finite number; `empty` where the element is absent or empty.

    Raises:
        FileError: absent or empty without such a value, several numbers, or none.
    """
    value = _raw(path, image, keyword)
    if _is_empty(value):
        if empty is None:
            raise FileError(path, "bad-geometry", f"holds no {keyword}; export it again with its whole header")
        return empty
    (found,) = _numbers(path, keyword, value, 1)
    return found


def numbers(path: Path, image: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """So many finite numbers.

    Raises:
        FileError: absent, empty, of another count, or not numbers.
    """
    value = _raw(path, image, keyword)
    if _is_empty(value):
        raise FileError(path, "bad-geometry", f"holds no {keyword}; export it again with its whole header")
    return _numbers(path, keyword, value, count)


def integer(path: Path, image: Dataset, keyword: str, *, empty: int | None = None) -> int:
    """As `number`, of a whole one."""
    value = number(path, image, keyword, empty=empty)
    if value != int(value):
        raise FileError(path, "bad-geometry", f"{keyword} is {value:g}, expected a whole number; export it again")
    return int(value)


def text(path: Path, image: Dataset, keyword: str, *, needed: bool = False) -> str:
    """The text without blanks at its ends; "" where the element is absent or empty, or several parts joined by blanks.

    Raises:
        FileError: it cannot be read, or it is needed and there is none.
    """
    value = _raw(path, image, keyword)
    parts = [] if _is_empty(value) else (list(value) if not isinstance(value, str) and _has_length(value) else [value])
    found = guarded(path, keyword, lambda: " ".join(str(part) for part in parts).strip())
    if needed and not found:
        raise FileError(path, "bad-geometry", f"holds no {keyword}; export it again with its whole header")
    return found


def guarded(path: Path, what: str, read: Callable[[], _Value]) -> _Value:
    """What `read` returns; anything it raises is the file's fault.

    Raises:
        FileError: it raised.
    """
    try:
        return read()
    except FileError:
        raise
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise FileError(path, "unreadable", f"{what} cannot be read ({error}); export it again") from error


def _raw(path: Path, image: Dataset, keyword: str) -> Any:
    return guarded(path, keyword, lambda: image.get(keyword))


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (_has_length(value) and len(value) == 0)


def _has_length(value: Any) -> bool:
    return hasattr(value, "__len__")


def _numbers(path: Path, keyword: str, value: Any, count: int) -> tuple[float, ...]:
    expected = "one number" if count == 1 else f"{count} numbers"
    parts = value if _has_length(value) and not isinstance(value, str | bytes) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != count or not np.isfinite(found).all():
        shown = repr(value if isinstance(value, str) else str(value))[:_LONGEST]
        raise FileError(path, "bad-geometry", f"{keyword} is {shown}, expected {expected}; export it again")
    return found
