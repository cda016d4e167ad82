"""Which values of a label map are lesion: what nobody named is refused, never merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from wcr_med.volumes.volume import Array, FileError

_USUAL = (1, 255)  # either is lesion where none was named and it stands alone
_SHOWN = 6

Meaning = Literal["background", "lesion", "refused"]


@dataclass(frozen=True, kw_only=True)
class LabelValues:
    """What the values of a label map mean.

    Attributes:
        lesion: values that are lesion; `None`: 1 or 255, whichever a label map holds, if it does not hold both.
        background: values that are not.
    """

    lesion: tuple[int, ...] | None = None
    background: tuple[int, ...] = (0,)

    def meanings(self, values: Sequence[int]) -> dict[int, Meaning]:
        """What becomes of each of the values that one label map holds, in their order."""
        lesion = self.lesion
        if lesion is None:
            usual = [value for value in values if value in _USUAL and value not in self.background]
            lesion = tuple(usual) if len(usual) == 1 else ()
        return {
            value: "lesion" if value in lesion else "background" if value in self.background else "refused"
            for value in values
        }

    def mask_of(self, label: Array, path: Path) -> Array:
        """Where a label map says lesion: uint8, 0 and 1, of its shape.

        Args:
            label: whole numbers, of any real dtype.
            path: of its file, for the message.

        Raises:
            FileError: it holds fractions, or values that nobody named.
        """
        values = held_values(label, path)
        meanings = self.meanings(values)
        if unnamed := [value for value in values if meanings[value] == "refused"]:
            verb = "is" if len(unnamed) == 1 else "are"
            problem = (
                f"label values {listed(values)}, of which {listed(unnamed)} {verb} not named; set"
                " data.nifti.lesion_values to those of lesion, and data.nifti.background_values to the others"
            )
            raise FileError(path, "mask-values", problem)
        lesion = [value for value in values if meanings[value] == "lesion"]
        mask: Array = np.isin(label, np.array(lesion, dtype=np.int64)).astype(np.uint8)
        return mask


def held_values(label: Array, path: Path) -> list[int]:
    """The different values of a label map, ascending.

    Raises:
        FileError: it holds fractions.
    """
    found = np.unique(label)
    if found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        raise FileError(path, "mask-values", "a label map with fractions; save whole numbers, 0 for background")
    return [int(value) for value in found]


def listed(values: Sequence[int]) -> str:
    """The first few of some values, for a message."""
    return ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
