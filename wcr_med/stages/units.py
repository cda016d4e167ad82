"""Sizes and times as people write them, and back."""

import math
import re
from collections.abc import Mapping

from wcr_med.errors import UserError

BYTES = {"B": 1, "kB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
"""Bytes of each unit of size."""

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
"""Milliseconds of each unit of time."""

_NUMBER = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([^\W\d]*)\s*", re.ASCII)


def parse_size(text: str, *, source: str) -> float:
    """Bytes of a size such as "1MB", "850 kB" or "1.5MiB"; above 0.

    Args:
        text: a plain decimal number and a unit of `BYTES`; case counts.
        source: names the value in messages.

    Raises:
        UserError: no number, no unit, another unit, or 0.
    """
    return _parse(text, BYTES, source=source, example="1MB")


def parse_time(text: str, *, source: str) -> float:
    """Milliseconds of a time such as "40ms", "250 us" or "0.1s"; above 0. Otherwise as `parse_size`."""
    return _parse(text, MILLISECONDS, source=source, example="40ms")


def size_in_words(n_bytes: float) -> str:
    """A size for a reader: "812 B", "12.3 kB", "1.587 MB"."""
    if n_bytes < BYTES["kB"]:
        return f"{n_bytes:.0f} B"
    if n_bytes < 100 * BYTES["kB"]:
        return f"{n_bytes / BYTES['kB']:.1f} kB"
    return f"{n_bytes / BYTES['MB']:.3f} MB"


def time_in_words(milliseconds: float) -> str:
    """A time for a reader: "850 us", "38.12 ms", "1.204 s"."""
    if milliseconds < 1:
        return f"{milliseconds / MILLISECONDS['us']:.0f} us"
    if milliseconds < MILLISECONDS["s"]:
        return f"{milliseconds:.2f} ms"
    return f"{milliseconds / MILLISECONDS['s']:.3f} s"


def _parse(text: str, units: Mapping[str, float], *, source: str, example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in units:
        fault = "has no unit" if match is not None and not match[2] else "is not a number and a unit"
        raise UserError(f"{source} {text}: {fault}; give one of {', '.join(units)}, such as {example}")
    value = float(match[1]) * units[match[2]]
    if not 0 < value < math.inf:
        raise UserError(f"{source} {text}: give more than 0, such as {example}")
    return value
