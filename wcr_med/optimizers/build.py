"""How the weights move: the optimizer, and the learning rate of every step."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from wcr_med.config import OptimizerConfig

_FUSED_DEVICES = ("cpu", "cuda")


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """SGD with momentum, or AdamW, over all trainable parameters of the model.

    Weight decay acts on parameters of two axes and more, that is on kernels; normalisation gains and offsets and all
    biases have one axis and are not decayed. Parameters keep the model's order within the two groups.

    Args:
        model: the network, already on its device.
        config: name, peak learning rate, momentum (sgd alone) and weight decay.

    Returns:
        The optimizer, in torch's fused form: one pass over the weights. Its learning rate is the peak; the loop sets
        the rate of every step.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in trainable)
    optimizer: Optimizer
    if config.name == "sgd":
        optimizer = SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=fused)
    else:
        optimizer = AdamW(groups, lr=config.learning_rate, fused=fused)
    optimizer.register_step_pre_hook(_align_gradients)
    return optimizer


def _align_gradients(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
    """Give every gradient its parameter's memory layout.

    Autograd does so by itself, but a gradient may come from elsewhere, and on a CPU the fused form takes both in the
    order in which they lie, without looking.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Let the optimizer's next step use this rate in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """The rate of one step: linear warm-up, then a cosine to zero.

    During warm-up step k uses peak * (k + 1) / warmup, so no step has rate zero and the last warm-up step has the peak.
    After it the rate is peak / 2 * (1 + cos(pi * t)), t running from 0 at the end of warm-up to 1 at `total`, which is
    one step after the last. It is a pure function of the step, so a resumed training needs no scheduler state.

    Args:
        step: number of the step, from 0 to total - 1.
        total: steps of the whole training, at least 1.
        warmup: steps of warm-up; 0 for none. If it is `total` or more, the rate only rises.
        peak: the largest rate.

    Raises:
        ValueError: the step lies outside the training, or the warm-up is negative.

    References:
        Loshchilov, Hutter: SGDR, ICLR 2017 (the cosine, here without restarts).
    """
    if not 0 <= step < total or warmup < 0:
        raise ValueError(f"step {step} of {total} with {warmup} warm-up steps: out of range")
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
