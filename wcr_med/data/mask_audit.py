"""Whether masks can be what they are said to be: the values they hold, and where they lie in the images."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.preprocess import foreground
from wcr_med.volumes.labels import Meaning

Array = npt.NDArray[Any]

LARGEST_SHARE = 0.5
"""Of the head that a lesion fills, and of a mask that lies outside the head: more is a mistake, not a tumour."""


@dataclass(frozen=True, kw_only=True)
class MaskValue:
    """A value that masks hold.

    Attributes:
        value: the number in the files.
        n_patients: patients with a mask that holds it.
        becomes: what it is taken for; "refused" where it is in one of them.
    """

    value: int
    n_patients: int
    becomes: Meaning


def mask_values(by_patient: list[Mapping[int, Meaning]]) -> tuple[MaskValue, ...]:
    """The values of all masks, ascending.

    Args:
        by_patient: for each patient, each value of its masks and what becomes of it.
    """
    counts = Counter(value for values in by_patient for value in values)
    meanings: dict[int, Meaning] = {}
    for values in by_patient:
        for value, meaning in values.items():
            if meanings.get(value) != "refused":
                meanings[value] = meaning
    return tuple(MaskValue(value=value, n_patients=counts[value], becomes=meanings[value]) for value in sorted(counts))


def implausible(image_SHWC: Array, mask_SHW: Array) -> list[tuple[str, str]]:
    """What speaks against a patient's mask: codes and messages; empty for a likely one and for one without lesion.

    Args:
        image_SHWC: slices with a mask, raw intensities.
        mask_SHW: 0 and 1.
    """
    n_lesion = int(np.count_nonzero(mask_SHW))
    head_SHW = foreground(image_SHWC)
    n_head = int(np.count_nonzero(head_SHW))
    if not n_lesion or not n_head:
        return []
    lesion_SHW = mask_SHW > 0
    filled = np.count_nonzero(lesion_SHW & head_SHW) / n_head
    outside = np.count_nonzero(lesion_SHW & ~head_SHW) / n_lesion
    covered = n_lesion / (lesion_SHW.any(axis=(1, 2)).sum() * mask_SHW[0].size)
    found = []
    if filled > LARGEST_SHARE:
        found.append(
            (
                "mask-everywhere",
                f"lesion fills {100 * filled:.0f} % of the head and covers {100 * covered:.0f} % of the slices it is"
                " in; check that lesion and the rest are not exchanged",
            )
        )
    if outside > LARGEST_SHARE:
        found.append(
            (
                "mask-outside-head",
                f"{100 * outside:.0f} % of the mask lies outside the head; check that lesion and the rest are not"
                " exchanged, and that the mask belongs to these images",
            )
        )
    return found
