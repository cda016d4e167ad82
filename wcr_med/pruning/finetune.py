"""Retraining with the mask held: what comes out is not one-shot any more."""

import contextlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError
from wcr_med.losses import build_loss
from wcr_med.optimizers import build_optimizer, learning_rate, set_learning_rate
from wcr_med.pruning.mask import Mask
from wcr_med.pruning.repair import RETRAINED
from wcr_med.training.loaders import open_loader
from wcr_med.training.processor import choose_processor, processor_settings, seed_everything

PEAK_SHARE = 0.1
"""The first learning rate as a share of training's peak."""


def finetune_(
    model: nn.Module, mask: Mask, cache: SliceCache, rows: npt.NDArray[np.int64], config: Config, *, epochs: int
) -> dict[str, Any]:
    """Train all parameters on, in place; the weights that the mask removes are zero after every step.

    Loss, optimizer, augmentation, batches (`training.slices` too) and precision are those of training; there is no
    regularizer and no robust gradient. The learning rate falls along a cosine from `PEAK_SHARE` of
    `optimizer.learning_rate` to zero. The last epoch's weights are kept; no patient chooses among epochs. Everything
    random is drawn from `config.seed` and epoch numbers that follow those of training.

    Args:
        model: the pruned and repaired network; it ends on the CPU, in evaluation mode.
        mask: made for it.
        cache: prepared slices.
        rows: of the training patients, as of `SliceCache.rows`.
        config: seed, augment, loss, optimizer and training are used.
        epochs: at least 1.

    Returns:
        A JSON-ready record: `label`, `epochs`, `n_steps`, `learning_rate` (the first), and `losses`, the mean of each
        epoch.

    Raises:
        UserError: there are no slices, CUDA is asked for and absent, the device has no room for slices that
            `training.slices` wants there, or the loss is NaN or infinite.
        ValueError: the mask was made for another network.
    """
    settings = config.training
    peak = PEAK_SHARE * config.optimizer.learning_rate
    losses = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(processor_settings(settings.threads))
        processor = choose_processor(settings)
        processor.place_model(model)
        mask.apply_(model)
        loss_of, optimizer = build_loss(config.loss), build_optimizer(model, config.optimizer)
        loader = open_loader(model, cache, rows, config, processor)
        stack.callback(loader.close)
        model.train()
        for epoch in range(epochs):
            seed_everything(config.seed, settings.epochs + epoch)
            total = torch.zeros((), dtype=torch.float64, device=processor.device)
            for step, (image_NChw, mask_N1hw) in enumerate(
                loader.epoch(settings.epochs + epoch), start=epoch * len(loader)
            ):
                set_learning_rate(optimizer, learning_rate(step, epochs * len(loader), 0, peak))
                optimizer.zero_grad(set_to_none=True)
                with processor.autocast():
                    logits_N1hw = model(processor.place(image_NChw))
                loss = loss_of(logits_N1hw.float(), processor.place(mask_N1hw))
                torch.autograd.backward(loss)
                if settings.gradient_clip:
                    nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
                optimizer.step()
                mask.apply_(model)
                total += loss.detach()
            losses.append(_finite(float(total) / len(loader), epoch))
        optimizer.zero_grad(set_to_none=True)
        model.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return {
        "label": RETRAINED,
        "epochs": epochs,
        "n_steps": epochs * len(loader),
        "learning_rate": peak,
        "losses": losses,
    }


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise UserError(
            f"pruning.finetune_epochs: the loss is {loss} in epoch {epoch + 1}; lower optimizer.learning_rate, or set"
            " training.precision to fp32"
        )
    return loss
