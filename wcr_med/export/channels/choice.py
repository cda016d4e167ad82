"""Which of several channels to keep where one must stay: the one for whose sake fewest others do."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wcr_med.export.channels.kernels import Kernel
from wcr_med.export.channels.working import Bools, Floats

Labels = npt.NDArray[np.integer]

_LARGEST = 1e300  # estimates add up along every path


class Choice:
    """Compares families of channels by what they keep alive.

    Args:
        kernels: the convolutions, last first.
        family: for each feature map the label of each channel's family.
        size: channels of each family.
        values: for each feature map its constants, NaN elsewhere.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        family: Mapping[str, Labels],
        size: npt.NDArray[np.integer],
        values: Mapping[str, Floats],
    ) -> None:
        self.kernels = kernels
        self.family = family
        self.size = size
        self.values = values

    def cheapest(self, labels: Iterable[int], live: Bools) -> int:
        """The family that keeps fewest channels alive besides those that live; of equals the one listed first.

        Channels that it reads are followed exactly. Where a convolution reads nothing, its source must still not be
        empty, and the channel with the lowest estimate is taken to stay.
        """
        candidates = np.array(sorted(set(labels), key=lambda label: (self.size[label], label)))
        alive = np.tile(live, (len(candidates), 1))  # a row a candidate: what stays if it does
        alive[np.arange(len(candidates)), candidates] = True
        count = -1
        while count != int(alive.sum()):
            count = int(alive.sum())
            for kernel, varying in zip(self.kernels, self._varying, strict=True):
                source, target = self.family[kernel.source], alive[:, self.family[kernel.target]]
                rows, columns = np.nonzero(target.astype(np.float32) @ varying)
                alive[rows, source[columns]] = True
                alive[target.any(axis=1) & ~alive[:, source].any(axis=1), self._usual[kernel.source]] = True
        return int(candidates[np.argmin(alive @ self.size)])

    @cached_property
    def _varying(self) -> list[npt.NDArray[np.float32]]:
        """For each kernel 1 (out, in) where it reads a channel that varies."""
        return [(kernel.reads & np.isnan(self.values[kernel.source])).astype(np.float32) for kernel in self.kernels]

    @cached_property
    def _usual(self) -> dict[str, int]:
        """For each source of a convolution the family with the lowest estimate: its channels and all it reads."""
        estimate = self.size.astype(np.float64)
        usual: dict[str, int] = {}
        for kernel, varying in reversed(list(zip(self.kernels, self._varying, strict=True))):
            source = self.family[kernel.source]
            usual[kernel.source] = int(source[np.argmin(estimate[source])])
            read = varying.astype(np.float64) @ estimate[source]
            np.add.at(estimate, self.family[kernel.target], np.where(read > 0, read, estimate[source].min()))
            np.minimum(estimate, _LARGEST, out=estimate)
        return usual
