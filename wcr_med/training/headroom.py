"""Warnings before a training starts: memory, or shared memory, that will not be enough; each with its remedy."""

import copy
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.memory import available_memory

_LOG = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where loader processes leave their batches

_AHEAD = 2  # batches that each loader process makes ahead: torch's default
_IN_HAND = 2  # batches that the training and the loader's queue hold
_LOADER_BYTES = 300 << 20  # that a loader process takes for itself, about: benchmarks/streaming.py
_BF16_SHARE = 0.5  # of float32, measured
_PASSING = 6  # of the largest piece, measured


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """What a training step takes on its device, in bytes.

    Attributes:
        fixed: weights, their gradients, the optimizer's state.
        a_slice: what the backward pass needs of each slice of the batch.
    """

    fixed: int
    a_slice: int


def warn_if_short(
    model: nn.Module,
    cache: SliceCache,
    config: Config,
    *,
    device: torch.device,
    streamed: bool,
    n_slices: int,
    world: int = 1,
    local_world: int = 1,
    log: logging.Logger = _LOG,
) -> None:
    """Warn where /dev/shm or memory will probably not be enough. Nothing is changed, and nothing is refused.

    Call it in one process of each machine, before the first batch.

    Args:
        model: the network; left as it is.
        cache: its slices.
        config: of the run.
        device: of the step.
        streamed: slices come from the cache's files; else they are held on the device.
        n_slices: of the training patients.
        world: processes that train together.
        local_world: those of them on this machine.
        log: takes the warnings.
    """
    n_batch = math.ceil(config.training.batch_size / world)
    workers = config.training.loader_workers * streamed * local_world
    slice_bytes = 4 * math.prod(cache.images_NChw.shape[1:]) + 4 * math.prod(cache.masks_Nhw.shape[1:])
    line = shared_memory_warning(
        needed=(_AHEAD * workers + _IN_HAND * local_world) * n_batch * slice_bytes if workers else 0,
        free=_free_bytes(SHARED_MEMORY),
        workers=config.training.loader_workers,
    )
    if line is not None:
        log.warning("%s", line)
    available = available_memory()
    cache_bytes = cache.images_NChw.nbytes + cache.masks_Nhw.nbytes
    if streamed and cache.folder is not None and available is not None and cache_bytes > available:
        log.info(
            "the prepared slices take %s, and %s of memory are available: each epoch reads from the disk; a fast local"
            " disk for data.cache, or a smaller preprocess.height and width, helps where the training waits for it",
            _gb(cache_bytes), _gb(available),
        )  # fmt: skip
    if device.type != "cpu":
        return
    step = step_memory(model, config, tuple(cache.images_NChw.shape[1:]), n_batch)
    held = 0 if streamed else n_slices * (cache_bytes // max(1, len(cache)))
    line = memory_warning(
        step,
        n_batch=n_batch,
        others=local_world * held + workers * _LOADER_BYTES,
        processes=local_world,
        available=available,
        held=held,
    )
    if line is not None:
        log.warning("%s", line)


def shared_memory_warning(*, needed: int, free: int | None, workers: int) -> str | None:
    """The line for a /dev/shm that will not hold the loader's batches; `None` where it will, or nothing is known.

    Args:
        needed: bytes; 0 where no loader processes run.
        free: bytes; `None` where the system has no /dev/shm.
        workers: `training.loader_workers`, for the remedy.
    """
    if free is None or needed <= free:
        return None
    return (
        f"{SHARED_MEMORY} has {_gb(free)} free, and the batches of {workers} loader processes need about {_gb(needed)}:"
        f" start the container with --shm-size={_rounded_up(needed)}m (Docker) or mount an emptyDir of medium Memory"
        f" at {SHARED_MEMORY} (Kubernetes), or set training.loader_workers to 0, or lower training.batch_size"
    )


def memory_warning(
    step: StepMemory | None, *, n_batch: int, others: int, processes: int, available: int | None, held: int = 0
) -> str | None:
    """The line for memory that will not hold the training; `None` where it will, or something is not known.

    Args:
        step: of one process.
        n_batch: slices a step of one process.
        others: bytes of everything beside the steps, of all processes together.
        processes: that train on this machine.
        available: bytes.
        held: bytes of slices that each process holds in memory; among `others`.
    """
    if step is None or available is None:
        return None
    needed = processes * (step.fixed + n_batch * step.a_slice) + others
    if needed <= available:
        return None
    room = (available - others) / processes - step.fixed
    fits = max(0, int(room // step.a_slice)) * processes
    remedies = [f"set training.batch_size to {fits}"] if fits else []
    remedies += ["set training.slices to streamed"] if held else []
    remedies += ["lower model.features" if remedies else "lower training.batch_size and model.features"]
    remedies += ["give the machine, or the container, more memory"]
    return (
        f"the training needs about {_gb(needed)} of memory, and {_gb(available)} are available: the system may kill it;"
        f" {', or '.join(remedies)}"
    )


def step_memory(model: nn.Module, config: Config, shape_Chw: tuple[int, ...], n_batch: int) -> StepMemory | None:
    """What a step takes, from a forward pass without numbers: nothing is computed and no activation is made.

    Args:
        model: copied; left as it is.
        config: optimizer and precision are used.
        shape_Chw: of an image.
        n_batch: slices of the batch.

    Returns:
        `None` for a network that cannot be followed without numbers.
    """
    try:
        kept, largest = _kept_for_backward(model, (n_batch, *shape_Chw))
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return None
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    states = 2 if config.optimizer.name == "adamw" else 1
    share = 1.0 if config.training.precision == "fp32" else _BF16_SHARE
    # Beside what the forward pass kept, the backward pass holds gradients of some layers and copies in other layouts.
    return StepMemory(fixed=(2 + states) * weights, a_slice=math.ceil((share * (kept + _PASSING * largest)) / n_batch))


def _kept_for_backward(model: nn.Module, shape_NChw: tuple[int, ...]) -> tuple[int, int]:
    """Bytes of all that autograd keeps in float32, weights apart, and of the largest single piece."""
    shadow = copy.deepcopy(model).to("meta").train()
    own = {parameter.untyped_storage()._cdata for parameter in (*shadow.parameters(), *shadow.buffers())}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = shadow(torch.zeros(shape_NChw, device="meta"))
    del logits
    return sum(sizes.values()), max(sizes.values(), default=0)


def _free_bytes(folder: Path) -> int | None:
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def _rounded_up(n_bytes: int) -> int:
    """Mebibytes, the next power of two."""
    return 1 << max(0, math.ceil(math.log2(n_bytes / (1 << 20))))


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
