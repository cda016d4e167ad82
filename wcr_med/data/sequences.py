"""Which channels of a patient carry a sequence of their own, and which stand in for a missing one.

Data sets with a fixed number of channels fill a missing sequence with a copy of another, or with one constant value.
"""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.channel_names import flair_of

Array = npt.NDArray[Any]


class ChannelContent:
    """Compares the channels of one patient, slice by slice."""

    def __init__(self) -> None:
        self._n_channels = 0
        self._differing: set[tuple[int, int]] = set()  # pairs of channels that differ somewhere
        self._filled: set[int] = set()  # channels that are not constant in every slice

    def see(self, image_HWC: Array) -> None:
        """Take in one more slice: (rows, columns, channels), any number type."""
        self._n_channels = image_HWC.shape[2]
        for channel in range(self._n_channels):
            if channel not in self._filled and image_HWC[..., channel].min() != image_HWC[..., channel].max():
                self._filled.add(channel)
        for pair in combinations(range(self._n_channels), 2):
            if pair not in self._differing and not np.array_equal(image_HWC[..., pair[0]], image_HWC[..., pair[1]]):
                self._differing.add(pair)

    @property
    def settled(self) -> bool:
        """Every channel holds something of its own: further slices cannot change that. False before the first."""
        n_pairs = self._n_channels * (self._n_channels - 1) // 2
        return 0 < self._n_channels == len(self._filled) and len(self._differing) == n_pairs

    @property
    def empty(self) -> tuple[int, ...]:
        """Channels that hold one constant value in each slice, ascending."""
        return tuple(channel for channel in range(self._n_channels) if channel not in self._filled)

    @property
    def copies(self) -> tuple[tuple[int, ...], ...]:
        """Groups of two and more channels that are equal in every slice, and not constant."""
        groups: dict[int, list[int]] = {}
        for channel in sorted(self._filled):
            earlier = (first for first in groups if (first, channel) not in self._differing)
            groups.setdefault(next(earlier, channel), []).append(channel)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def missing_sequences(content: ChannelContent, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the sequences that a patient lacks, in channel order.

    A constant channel is missing. Of equal channels one is real: FLAIR where it is among them, since that is what
    kaggle_3m was filled with (Buda et al. 2019), else the first.
    """
    missing = set(content.empty)
    for group in content.copies:
        real = next((channel for channel in group if channel == flair_of(names)), group[0])
        missing |= set(group) - {real}
    return tuple(names[channel] for channel in sorted(missing))
