"""torch.compile for training passes, with a way back."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def compiled(
    model: nn.Module, *, wanted: bool, backend: str | Callable[..., Any] = "inductor", log: logging.Logger = _LOG
) -> Iterator[None]:
    """For the length of a block, training passes of the model run compiled, if wanted and where that works.

    The model stays the same object with the same parameters and names. Passes in evaluation mode or without gradients
    run as before. The first batch of each shape is tried forward and backward, with nothing left behind; should the
    compiler fail, one warning says so and the training goes on without it. Out of memory does not count as such.

    Args:
        model: on its device.
        wanted: of `training.compile`; without, nothing happens.
        backend: of torch.compile.
        log: takes the warning.
    """
    if not wanted:
        yield
        return
    model.forward = _Forward(model, backend, log)
    try:
        yield
    finally:
        del model.forward  # the class's own comes back


class _Forward:
    """Stands in for `model.forward`."""

    def __init__(self, model: nn.Module, backend: str | Callable[..., Any], log: logging.Logger) -> None:
        self._model = model
        self._plain = model.forward
        # Sizes are constants of the compiled code: an epoch has two at most, its batches and a smaller last one.
        self._compiled = torch.compile(self._plain, backend=backend, dynamic=False)
        self._log = log
        self._tried: set[tuple[torch.Size, ...]] = set()
        self._failed = False

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if self._failed or not (self._model.training and torch.is_grad_enabled()):
            return self._plain(*inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._tried:
            self._tried.add(shapes)
            self._failed = not self._works(inputs)
        return self._plain(*inputs) if self._failed else self._compiled(*inputs)

    def _works(self, inputs: tuple[torch.Tensor, ...]) -> bool:
        """A pass forward and backward: the backward graph is compiled only when it first runs."""
        before = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        cuda_devices = sorted({tensor.device.index for tensor in inputs if tensor.device.type == "cuda"})
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        try:
            with torch.random.fork_rng(cuda_devices):
                output = self._compiled(*inputs)
                torch.autograd.grad(output.float().sum(), trained, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a compiler may fail in any way
            reason = str(error).strip().splitlines()[0:1] or [""]
            self._log.warning(
                "training.compile: the compiler failed (%s: %s); going on without it", type(error).__name__, *reason
            )
            return False
        finally:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
        return True
