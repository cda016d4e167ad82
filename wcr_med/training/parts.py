"""What a training must know of a partition."""

from collections.abc import Sequence
from typing import Protocol


class Parts(Protocol):
    """Who trains and who validates, by the names that the cache knows; `wcr_med.data.split.Split` is one."""

    @property
    def train(self) -> Sequence[str]:
        """Whose slices are learned from."""
        ...

    @property
    def validation(self) -> Sequence[str]:
        """Who chooses the best epoch."""
        ...

    @property
    def hash(self) -> str:
        """Of the partition; a training goes on only with the same one."""
        ...
