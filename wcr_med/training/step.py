"""One step of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wcr_med.config import Config
from wcr_med.losses import Loss, build_loss
from wcr_med.models import layer_costs, prunable_parameters
from wcr_med.optimizers import Powerpropagation, Robust, build_optimizer, build_robust, set_learning_rate
from wcr_med.regularizers import LossTerm, Moment, Regularizer, Schedule, strength_and_schedule
from wcr_med.training.distributed import Group
from wcr_med.training.processor import Processor


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """Loss gradient, its norm clipped, the regularizer's gradient added, the optimizer, the regularizer's own step.

    In this order: so the clip bounds what the data say, and never the regularizer, whose gradient is far larger at the
    start. A robust gradient takes the place of the loss gradient; the regularizer's is always taken at the weights.

    Attributes:
        model: gives logits_N1hw; in training mode, on the processor's device.
        network: what is called: the model, as processes share it, or compiled; its parameters are the model's.
        kernels: the parameters that the regularizer covers.
        loss_of: of `wcr_med.losses.build_loss`.
        optimizer: over the model's parameters.
        processor: places the batch and decides the precision.
        gradient_clip: largest norm of the loss gradient; 0 for no limit.
        n_steps: of the whole training; the schedule counts in shares of it.
        group: the processes that train together.
        regularizer: `None` for none.
        strength: of the regularizer, once it has risen.
        schedule: when it acts.
        robust: `None` for the plain gradient.
        power: `None` for no reparameterisation.
    """

    model: nn.Module
    network: Callable[[Tensor], Tensor]
    kernels: Mapping[str, nn.Parameter]
    loss_of: Loss
    optimizer: torch.optim.Optimizer
    processor: Processor
    gradient_clip: float
    n_steps: int
    group: Group = field(default_factory=Group)
    regularizer: Regularizer | None = None
    strength: float = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    robust: Robust | None = None
    power: Powerpropagation | None = None

    def __call__(
        self,
        images_NChw: Tensor,
        masks_N1hw: Tensor,
        *,
        step: int,
        rate: float,
        sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Take the step; the loss of the whole batch before it, a detached scalar on the device.

        Args:
            images_NChw: float32; this process's part of the batch.
            masks_N1hw: float32, 0 and 1.
            step: counted from 0 over the whole training.
            rate: learning rate of this step.
            sizes: slices of each process's part, by rank; not needed for one process alone.
        """
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        sizes = sizes or (len(images_NChw),)
        backward = self._backward(self.processor.place(images_NChw), self.processor.place(masks_N1hw), sizes)
        loss = backward() if self.robust is None else self.robust.gradient_(backward)
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        rise = 0.0 if self.regularizer is None else self.schedule.rise(step, self.n_steps)
        if self.regularizer is not None and rise:
            self.regularizer.add_gradient_(self.kernels, self.strength * rise)
        self._update()
        if self.regularizer is not None:
            self._move_weights(self.regularizer, Moment(step=step, learning_rate=rate, rise=rise))
        return loss

    def fits(self, images_NChw: Tensor, masks_N1hw: Tensor) -> None:
        """A forward and a backward pass that change no weight, to see whether memory suffices.

        Raises:
            RuntimeError: it does not.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self._backward(self.processor.place(images_NChw), self.processor.place(masks_N1hw), (len(images_NChw),))()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs beside weights and optimizer, by "PART/NAME"."""
        return {
            f"{part}/{name}": tensor for part, owner in self._parts().items() for name, tensor in owner.state().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave; tensors go to the device."""
        for part, owner in self._parts().items():
            own = {
                key.partition("/")[2]: tensor.to(self.processor.device)
                for key, tensor in state.items()
                if key.startswith(f"{part}/")
            }
            if own:
                owner.load_state(own)

    def _parts(self) -> dict[str, Regularizer | Robust | Powerpropagation]:
        parts = {"regularizer": self.regularizer, "robust": self.robust, "power": self.power}
        return {name: part for name, part in parts.items() if part is not None}

    def _backward(self, images_NChw: Tensor, masks_N1hw: Tensor, sizes: Sequence[int]) -> Callable[[], Tensor]:
        whole_masks_N1hw = self.group.gather(masks_N1hw, sizes)

        def backward() -> Tensor:
            with self.processor.autocast():
                logits_N1hw = self.network(images_NChw)
            loss = self.loss_of(self.group.gather(logits_N1hw.float(), sizes), whole_masks_N1hw)
            torch.autograd.backward(loss)
            return loss.detach()

        return backward

    def _move_weights(self, regularizer: Regularizer, moment: Moment) -> None:
        """What the regularizer does after the optimizer."""
        if moment.rise:
            regularizer.step_(self.kernels, self.strength, moment)
        elif self.schedule.settles(moment.step, self.n_steps):
            regularizer.hold_(self.kernels)
        else:
            return
        if self.power is not None and not isinstance(regularizer, LossTerm):
            self.power.follow_()

    def _update(self) -> None:
        if self.power is None:
            self.optimizer.step()
            return
        self.power.to_theta_()
        self.optimizer.step()
        self.power.to_weights_()


def build_step(
    model: nn.Module,
    config: Config,
    processor: Processor,
    regularizer: Regularizer | None,
    *,
    n_steps: int,
    group: Group | None = None,
) -> TrainingStep:
    """The step that a configuration describes, with a new optimizer.

    Args:
        model: on the processor's device.
        config: loss, optimizer, regularizer and training are used; for costs, model and preprocess.
        processor: device and precision.
        regularizer: the one that `config.regularizer` names, or `None`; a caller may give one of its own.
        n_steps: of the whole training.
        group: the processes that train together; `None` for this one alone.

    Raises:
        UserError: the regularizer's strength or schedule is out of range.
    """
    group = group or Group()
    kernels = prunable_parameters(model)
    strength, schedule = strength_and_schedule(config.regularizer)
    alpha = config.optimizer.powerpropagation
    if regularizer is not None and regularizer.needs_costs:
        grid = config.preprocess
        regularizer.prepare(layer_costs(model, (config.model.in_channels, grid.height, grid.width)))
    return TrainingStep(
        model=model,
        network=group.share(model),
        kernels=kernels,
        loss_of=build_loss(config.loss),
        optimizer=build_optimizer(model, config.optimizer),
        processor=processor,
        gradient_clip=config.training.gradient_clip,
        n_steps=n_steps,
        group=group,
        regularizer=regularizer,
        strength=strength,
        schedule=schedule,
        robust=build_robust(model, config.optimizer),
        power=Powerpropagation(kernels, alpha) if alpha > 1 else None,
    )
