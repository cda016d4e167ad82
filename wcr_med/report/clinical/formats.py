"""Numbers in words, for the page. A number that does not exist is never shown as a number."""

import math
from collections.abc import Sequence

NOT_DEFINED = "not defined"
_MINUS, _SPACE = "\u2212", "\u00a0"  # a true minus; a space that does not break


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number with fixed decimals: "0.812"; with `signed` "+0.012". `None` and NaN: "not defined".

    A value that rounds to zero has no sign.
    """
    if value is None or math.isnan(value):
        return NOT_DEFINED
    if math.isinf(value):
        return ("" if value > 0 else _MINUS) + "infinite"
    text = f"{abs(value):,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return (_MINUS if value < 0 else "+" if signed else "") + text


def span(low: float | None, high: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """An interval's ends: "0.760 to 0.851"; "no interval" where either is missing."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"{number(low, digits, signed=signed)} to {number(high, digits, signed=signed)}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage without needless zeros: "90 %", "12.5 %"."""
    if share is None or math.isnan(share):
        return NOT_DEFINED
    text = f"{abs(100 * share):.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return (_MINUS if share < 0 and text != "0" else "") + text + _SPACE + "%"


def p_value(value: float | None) -> str:
    """A p value: "p = 0.031", "p < 0.001"."""
    if value is None or math.isnan(value):
        return f"p {NOT_DEFINED}"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def size(n_bytes: float | None) -> str:
    """Bytes in decimal units: "812 kB", "31.06 MB"."""
    if n_bytes is None:
        return "not measured"
    for factor, unit, digits in ((1e9, "GB", 2), (1e6, "MB", 2), (1e3, "kB", 1)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.{digits}f}{_SPACE}{unit}"
    return f"{n_bytes:.0f}{_SPACE}bytes"


def milliseconds(value: float | None) -> str:
    """A time of milliseconds: "8.42 ms", "112 ms"."""
    if value is None or math.isnan(value):
        return "not measured"
    return f"{value:.2f}{_SPACE}ms" if value < 100 else f"{value:.0f}{_SPACE}ms"


def scientific(value: float | None) -> str:
    """A tiny number: "3.1e-06", "0"."""
    if value is None or math.isnan(value):
        return NOT_DEFINED
    return "0" if value == 0 else f"{value:.1e}".replace("-", _MINUS)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: "1 patient", "12 patients"."""
    return f"{count:,}{_SPACE}{noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"; "none" for nothing."""
    if not names:
        return "none"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def css_string(text: str) -> str:
    """Text as a CSS string literal that is safe within a style element: every unusual character as a code point."""
    safe = (
        character if character.isascii() and character.isalnum() else f"\\{ord(character):x} " for character in text
    )
    return '"' + "".join(safe) + '"'
