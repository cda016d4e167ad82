"""Batch-norm running statistics, estimated anew."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wcr_med.errors import UserError
from wcr_med.models import fewest_slices


@torch.no_grad()
def reestimate_statistics_(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Any]:
    """Estimate the running mean and variance of every batch norm anew from images, in place.

    The statistics that training left belong to the network before pruning. They are reset and become the average over
    the batches, each weighted by its number of images; all weights, and the rest of the network's behaviour (dropout),
    stay as in evaluation. Afterwards every module has its former mode and momentum.

    Args:
        model: the network, on the device of the batches.
        batches: normalised training images, float32 (N, C, h, w); at least one batch. A last batch of one slice that a
            batch norm cannot take (`wcr_med.models.fewest_slices`) is joined to the one before it.

    Returns:
        A JSON-ready record: `n_layers` batch norms, `n_batches`, `n_images`, and `largest_shift`: the largest change of
        a running mean, in former standard deviations of its channel. Without batch norm nothing runs and all are 0.

    Raises:
        UserError: there is no batch, or one slice alone where that is too few, or the statistics became NaN or
            infinite. The former statistics stay.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    if not norms:
        return {"n_layers": 0, "n_batches": 0, "n_images": 0, "largest_shift": 0.0}
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    former = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    kept = False
    try:
        n_batches, n_images = _estimate(model, norms, batches)
        shift = _largest_shift(norms, former)
        kept = True
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum, buffers in zip(norms, momenta, former, strict=True):
            norm.momentum = momentum
            if not kept:
                for name, buffer in norm.named_buffers():
                    buffer.copy_(buffers[name])
    return {"n_layers": len(norms), "n_batches": n_batches, "n_images": n_images, "largest_shift": shift}


def _estimate(model: nn.Module, norms: list[_BatchNorm], batches: Iterable[Tensor]) -> tuple[int, int]:
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    n_batches = n_images = 0
    for image_NChw in _joined(model, batches):
        n_batches += 1
        n_images += len(image_NChw)
        for norm in norms:
            # The share of this batch in all images so far makes the running value their average.
            norm.momentum = len(image_NChw) / n_images
        model(image_NChw)
    if n_batches == 0:
        raise UserError("re-estimation of batch-norm statistics: no training slices; raise pruning.repair_slices")
    return n_batches, n_images


def _joined(model: nn.Module, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches, one behind, so that a last one with too few slices can be joined to the one before it."""
    held: Tensor | None = None
    fewest = None
    for image_NChw in batches:
        if len(image_NChw) == 1 and fewest is None:
            fewest = fewest_slices(model, tuple(image_NChw.shape[1:]))
        if held is not None and len(image_NChw) < (fewest or 1):
            held = torch.cat((held, image_NChw))
            continue
        if held is not None:
            yield held
        held = image_NChw
    if held is not None and len(held) < (fewest or 1):
        raise UserError(
            "pruning.repair_slices: batch norm has one value to take statistics of in one slice of"
            f" {held.shape[-2]} x {held.shape[-1]} pixels; set it to 2 or more"
        )
    if held is not None:
        yield held


def _largest_shift(norms: list[_BatchNorm], former: list[dict[str, Tensor]]) -> float:
    largest = 0.0
    for norm, buffers in zip(norms, former, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not bool(torch.isfinite(norm.running_mean).all() & torch.isfinite(norm.running_var).all()):
            raise UserError("re-estimation of batch-norm statistics: they became NaN or infinite; train again")
        spread = (buffers["running_var"] + norm.eps).sqrt()
        largest = max(largest, float(((norm.running_mean - buffers["running_mean"]).abs() / spread).max()))
    return largest
