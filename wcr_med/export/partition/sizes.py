"""Sizes of feature maps where height, width or batch may be known only at run time."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """scale * base + offset, where `base` stands for a number of pixels that only a run tells.

    Two equal objects are equal sizes in every run. Unequal objects may be equal in some run.

    Attributes:
        base: what names the unknown; `None` for a known size, whose scale is 0.
        scale: factor of the unknown, at least 0.
        offset: added to it.
    """

    base: Hashable
    scale: int
    offset: int

    @classmethod
    def of(cls, number: int) -> "Size":
        """A known size."""
        return cls(None, 0, number)

    @classmethod
    def unknown(cls, name: Hashable) -> "Size":
        """The size called `name`."""
        return cls(name, 1, 0)

    @property
    def known(self) -> int | None:
        """The number, or `None`."""
        return self.offset if self.base is None else None

    def windows(self, extent: int, stride: int, padding: int) -> "Size":
        """How many windows fit: floor((size + padding - extent) / stride) + 1."""
        room = Size(self.base, self.scale, self.offset + padding - extent)
        if room.scale % stride == 0:
            return Size(self.base, room.scale // stride, room.offset // stride + 1)
        return Size((room, stride), 1, 1)

    def widened(self, extent: int, stride: int, padding: int, output_padding: int) -> "Size":
        """What a transposed convolution makes of it: (size - 1) * stride + extent + output_padding - padding."""
        offset = (self.offset - 1) * stride + extent + output_padding - padding
        return Size(self.base, self.scale * stride, offset)

    def times(self, factor: int) -> "Size":
        """Repeated `factor` times."""
        return Size(self.base, self.scale * factor, self.offset * factor)


Grid = tuple[Size, Size, Size, Size]  # batch, channels, rows, columns
