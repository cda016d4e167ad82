"""Reading the fields of a protobuf message, in time and memory that its length bounds.

A file of unknown origin is read by this before any library gets it. Nothing is copied: a message, a text or an array is
a view of the file. See https://protobuf.dev/programming-guides/encoding for the format.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_FIELDS = 1_000_000
"""Fields of a whole file. A network of ours has some ten thousand; a million take about a second."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


class DamagedError(Exception):
    """The bytes are not the message they should be. Says why in a few words."""


@dataclass
class Meter:
    """How many fields may still be read, over all messages of a file."""

    left: int = MAX_FIELDS


def fields(message: memoryview, meter: Meter) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message, in the order they lie in.

    Args:
        message: its bytes.
        meter: counts down with each field.

    Yields:
        The field's number, and its value: an unsigned integer below 2^64, or a view of its bytes (of four or eight for
        numbers of fixed size).

    Raises:
        DamagedError: the message ends within a field, has a field of no known kind, or the meter ran out.
    """
    for number, value, _ in fields_with_ends(message, meter):
        yield number, value


def fields_with_ends(message: memoryview, meter: Meter) -> Iterator[tuple[int, int | memoryview, int]]:
    """The same, and the place behind each field: the next one begins there."""
    position, end = 0, len(message)
    while position < end:
        meter.left -= 1
        if meter.left < 0:
            raise DamagedError(f"more than {MAX_FIELDS} fields")
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise DamagedError(f"a field of number {number}")
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, value, position
            continue
        if kind == _BYTES:
            length, position = _varint(message, position)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise DamagedError(f"a field of kind {kind}")
        if length > end - position:
            raise DamagedError("it ends within a field")
        position += length
        yield number, message[position - length : position], position


def varints(packed: memoryview, *, most: int) -> list[int] | None:
    """Unsigned integers that lie one after the other; `None` where they are more than `most`.

    Raises:
        DamagedError: the last one is cut off.
    """
    found: list[int] = []
    position = 0
    while position < len(packed):
        if len(found) == most:
            return None
        value, position = _varint(packed, position)
        found.append(value)
    return found


def signed(value: int) -> int:
    """A varint as the int64 that it encodes."""
    return value - (1 << 64) if value >> 63 else value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An unsigned integer, and where it ends."""
    if position < len(message) and message[position] < 0x80:  # most are short
        return message[position], position + 1
    value = 0
    for place, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + place + 1
    raise DamagedError("a number without end")
