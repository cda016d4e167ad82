"""One step of training."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wcr_med.losses import Loss
from wcr_med.regularizers import Regularizer
from wcr_med.training.processor import Processor


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """Loss gradient, its norm clipped, the regularizer's gradient added, the optimizer: in this order.

    So the clip bounds what the data say, and never the regularizer, whose gradient is far larger at the start.

    Attributes:
        model: gives logits_N1hw; in training mode, on the processor's device.
        kernels: the parameters that the regularizer covers.
        loss_of: of `wcr_med.losses.build_loss`.
        optimizer: over the model's parameters.
        processor: places the batch and decides the precision.
        gradient_clip: largest norm of the loss gradient; 0 for no limit.
        regularizer: `None` for none.
        strength: lambda of the regularizer.
    """

    model: nn.Module
    kernels: Mapping[str, nn.Parameter]
    loss_of: Loss
    optimizer: torch.optim.Optimizer
    processor: Processor
    gradient_clip: float
    regularizer: Regularizer | None
    strength: float

    def __call__(self, images_NChw: Tensor, masks_N1hw: Tensor) -> Tensor:
        """Take the step; the loss before it, a detached scalar on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.processor.autocast():
            logits_N1hw = self.model(self.processor.place(images_NChw))
        loss = self.loss_of(logits_N1hw.float(), self.processor.place(masks_N1hw))
        torch.autograd.backward(loss)
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        if self.regularizer is not None:
            self.regularizer.add_gradient_(self.kernels, self.strength)
        self.optimizer.step()
        return loss.detach()
