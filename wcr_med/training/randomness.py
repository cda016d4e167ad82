"""The state of torch's random numbers, for a checkpoint within an epoch."""

from collections.abc import Mapping

import torch
from torch import Tensor

_HOST, _DEVICE = "random/host", "random/device"


def random_state() -> dict[str, Tensor]:
    """The generators of the host and, where there is one, of the CUDA device in use; by name."""
    state = {_HOST: torch.get_rng_state()}
    if torch.cuda.is_available():
        state[_DEVICE] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Take over what `random_state` gave; a generator that is not among it stays as it is."""
    if _HOST in state:
        torch.set_rng_state(state[_HOST])
    if _DEVICE in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state[_DEVICE])
