"""Where training slices come from: loader processes that read the cache, or the device's own memory."""

import logging
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from wcr_med.augment import build_augmenter
from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.loader import EpochLoader, LoaderOptions, TrainingLoader
from wcr_med.errors import UserError
from wcr_med.models import fewest_slices
from wcr_med.training.memory import is_out_of_memory, out_of_memory
from wcr_med.training.processor import Processor
from wcr_med.training.resident import ResidentLoader, resident_bytes

_LOG = logging.getLogger(__name__)
_GB = 1e9
_SHARE = 0.5  # of the free memory that slices may take by themselves: the rest is for the step


def open_loader(
    model: nn.Module,
    cache: SliceCache,
    rows: npt.NDArray[Any],
    config: Config,
    processor: Processor,
    *,
    rank: int = 0,
    world: int = 1,
    log: logging.Logger = _LOG,
) -> EpochLoader:
    """The training slices as `training.slices` wants them, in batches that the network's batch norms can take.

    `auto` keeps them on the device where that is a CUDA device and they take less than half of its free memory: open
    the loader when the model is there already. Everything else is streamed.

    Args:
        model: the network that they train, on its device; left as it is.
        cache: prepared slices.
        rows: the training rows.
        config: augment, seed and training are used.
        processor: where batches go.
        rank: which process of the training this is, from 0.
        world: how many processes train together.
        log: is told when slices live on the device.

    Raises:
        UserError: `training.slices` is device, and the device has no room for them; or there are no rows; or one slice
            does not fit in memory; or a batch norm of the network would have one value to take statistics of.
    """
    settings = config.training
    try:
        fewest = fewest_slices(model, tuple(cache.images_NChw.shape[1:]))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(settings.batch_size, 0) from None
    if settings.batch_size < fewest:
        raise UserError(f"training.batch_size: is {settings.batch_size}, and {_one_value(config)}; set it to 2 or more")
    options: LoaderOptions = {
        "batch_size": settings.batch_size,
        "other_per_tumour": settings.other_per_tumour,
        "seed": config.seed,
        "fewest": fewest,
        "workers": settings.loader_workers,
        "rank": rank,
        "world": world,
    }
    if _on_device(settings.slices, resident_bytes(cache, len(rows)), processor.device):
        resident = ResidentLoader(cache, rows, config.augment, device=processor.device, **options)
        log.info("%d training slices live on the device, %.1f GB", len(rows), resident_bytes(cache, len(rows)) / _GB)
        loader: EpochLoader = resident
    else:
        loader = TrainingLoader(cache, rows, build_augmenter(config.augment), **options)
    if loader.n_slices < fewest:
        raise UserError(
            f"{config.data.root}: an epoch has {loader.n_slices} training slice, and {_one_value(config)};"
            " train on more patients, or raise training.other_per_tumour or preprocess.height and width"
        )
    return loader


def _one_value(config: Config) -> str:
    grid = config.preprocess
    return (
        f"{config.model.name} shrinks {grid.height} x {grid.width} pixels to one, so that batch norm has one value to"
        " take statistics of in a batch of one slice"
    )


def _on_device(slices: str, n_bytes: int, device: torch.device) -> bool:
    if slices == "streamed" or (slices == "auto" and device.type != "cuda"):
        return False
    if device.type != "cuda":
        return True
    n_free = torch.cuda.mem_get_info(device)[0]
    if slices == "device" and n_bytes >= n_free:
        raise UserError(
            f"training.slices is device, but the training slices take {n_bytes / _GB:.1f} GB and the device has"
            f" {n_free / _GB:.1f} GB free; set it to auto or streamed"
        )
    return slices == "device" or n_bytes < _SHARE * n_free
