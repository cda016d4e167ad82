"""What to say when a step does not fit in memory."""

from collections.abc import Callable

import torch

from wcr_med.errors import UserError


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch had no memory left, on a GPU or on the host."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def batch_that_fits(attempt: Callable[[int], object], n_slices: int) -> int:
    """The largest of n/2, n/4, ... slices for which `attempt` has memory enough; 0 where not even one slice has."""
    while n_slices > 1:
        n_slices //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(n_slices)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return n_slices
    return 0


def out_of_memory(batch_size: int, fits: int | None) -> UserError:
    """The line for the user.

    Args:
        batch_size: `training.batch_size`.
        fits: a batch that was found to fit; 0 for none, `None` where nothing was tried.
    """
    if fits == 0:
        return UserError(
            "a single slice does not fit in memory; lower model.features, or preprocess.height and preprocess.width"
        )
    advice = f"{fits} fits: set training.batch_size to {fits}" if fits else f"set it to {max(1, batch_size // 2)}"
    return UserError(f"training.batch_size {batch_size} does not fit in memory; {advice}, or lower model.features")
