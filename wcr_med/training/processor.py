"""Where and with which numbers the network computes."""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wcr_med.config import TrainingConfig
from wcr_med.errors import UserError
from wcr_med.provenance import available_cores

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 1 << 30
_LARGEST_INT = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A device and the precision of its convolutions; weights, losses and statistics stay in float32.

    Attributes:
        device: CPU or one CUDA device.
        precision: torch.bfloat16 for mixed precision, torch.float32 for none.
    """

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def place(self, tensor: Tensor) -> Tensor:
        """A batch of four axes on the device, channels last: the layout in which convolutions run fastest."""
        return tensor.to(self.device, memory_format=torch.channels_last, non_blocking=True)

    def place_model(self, model: nn.Module) -> nn.Module:
        """The same model object, moved to the device, its kernels channels last."""
        # The layout overload of `Module.to` is missing from torch's annotations for positional devices.
        return model.to(self.device).to(memory_format=torch.channels_last)

    def __str__(self) -> str:
        name = "bf16" if self.precision == torch.bfloat16 else "fp32"
        return f"{self.device.type}, {name}" + (
            f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        )


PLAIN_CPU = Processor(device=torch.device("cpu"), precision=torch.float32)
"""The processor that every machine has."""


def choose_processor(config: TrainingConfig) -> Processor:
    """The device and precision that the configuration asks for.

    `auto` takes CUDA where there is one, and bfloat16 on CUDA and on processors with instructions for it (AVX-512 BF16
    or AMX tiles); elsewhere bfloat16 would be emulated and slow.

    Raises:
        UserError: `device` is cuda, and this machine or this build of torch has none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch sees no CUDA device here; set it to auto or cpu")
    device = torch.device("cpu" if config.device == "cpu" or not torch.cuda.is_available() else "cuda")
    wants_bf16 = config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(device))
    return Processor(device=device, precision=torch.bfloat16 if wants_bf16 else torch.float32)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has its own instructions for bfloat16 products."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def seed_everything(seed: int, epoch: int) -> None:
    """Set the random numbers of torch, on all devices, as a pure function of the run's seed and the epoch.

    Drawn anew for every epoch, they need no place in a checkpoint: a resumed epoch starts from the same numbers.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]))


@contextlib.contextmanager
def processor_settings(threads: int) -> Iterator[None]:
    """Set the thread count and let tiny numbers count as zero, for the length of a block.

    Weights that fade become denormal numbers, which slow a step by half. Worker threads copy the flag when they are
    started: enter this before the first parallel operation of the process, and they all have it. On CUDA the fastest
    convolution of each shape is searched for. Memory that the process frees stays with it from here on.

    Args:
        threads: 0 takes all available cores.
    """
    threads_before = torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads or available_cores())
    search_before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    _keep_freed_memory()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = search_before
        torch.set_num_threads(threads_before)
        torch.set_flush_denormal(False)


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc; elsewhere nothing happens.

    A training step frees and asks for the same activations again. By default glibc gives large blocks back to the
    system each time, and the page faults of the next step are a tenth of it on a CPU.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    set_option(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
    set_option(_M_TRIM_THRESHOLD, _LARGEST_INT)
