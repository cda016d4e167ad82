"""One epoch after another: steps, validation, state, logs."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor, nn

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.loader import EpochLoader
from wcr_med.errors import Stopped, UserError
from wcr_med.optimizers import learning_rate
from wcr_med.regularizers import Regularizer
from wcr_med.training.checkpoint import save_checkpoint, save_weights
from wcr_med.training.logs import RunLog
from wcr_med.training.memory import batch_that_fits, is_out_of_memory, out_of_memory
from wcr_med.training.parts import Parts
from wcr_med.training.processor import seed_everything
from wcr_med.training.progress import EpochRow, Part, Progress
from wcr_med.training.randomness import random_state
from wcr_med.training.step import TrainingStep
from wcr_med.training.stopping import StopRequest
from wcr_med.training.validation import ValidationScores, validate

BEST_NAME = "best.safetensors"


@dataclass(kw_only=True)
class EpochRunner:
    """Takes the epochs of a training that has begun.

    Attributes:
        config: the whole run.
        cache: the slices.
        split: who trains and who validates.
        folder: of this training.
        loader: of this process's part of every batch.
        take_step: the step; knows model, processor and the other processes.
        progress: what is reached.
        fingerprint: for the state.
        stop: set by a signal.
        run_log: of the main process; `None` in others.
        saved_at: when the state was last written, on the monotonic clock.
    """

    config: Config
    cache: SliceCache
    split: Parts
    folder: Path
    loader: EpochLoader
    take_step: TrainingStep
    progress: Progress
    fingerprint: Mapping[str, Any]
    stop: StopRequest
    run_log: RunLog | None = None
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        settings, progress = self.config.training, self.progress
        out_of_patience = 0 < settings.patience <= progress.validations_without_better
        return progress.epochs_done >= settings.epochs or out_of_patience

    def epoch(self) -> None:
        """The steps of the next epoch, or what is left of them; validation; the state and the logs.

        Raises:
            UserError: the loss or a weight is no longer finite, a batch does not fit in memory, or the disk is full.
            Stopped: a signal asked for it; the state is saved.
        """
        settings, progress, model = self.config.training, self.progress, self.take_step.model
        number = progress.epochs_done
        rate = self._steps(number)
        trained = progress.part
        started = time.perf_counter()
        norm, terms = _measure(self.take_step.kernels, self.take_step.regularizer, step=(number + 1) * len(self.loader))
        scores = ValidationScores()
        if (number + 1) % settings.validate_every == 0 or number + 1 == settings.epochs:
            scores = validate(
                model,
                self.cache,
                self.split.validation,
                self.take_step.processor,
                batch_size=2 * settings.batch_size,
                group=self.take_step.group,
            )
        row = EpochRow(
            epoch=number + 1,
            loss=trained.loss_sum / trained.steps,
            regularizer=sum(terms.values()) if self.take_step.regularizer is not None else None,
            learning_rate=rate,
            weight_norm=norm,
            dice_patient=scores.dice_patient,
            f1_pooled=scores.f1_pooled,
            images_per_second=trained.n_slices / trained.seconds,
            seconds=trained.seconds + time.perf_counter() - started,
        )
        is_best = progress.note(row, terms, validated=scores.measured)
        if self.run_log is not None:
            if is_best:
                save_weights(self.folder / BEST_NAME, model)
            self._save({})
            self.run_log.epoch(progress)
        if self.stop and not self.finished:
            self._raise_stopped()

    def _steps(self, number: int) -> float:
        """The steps of an epoch that are not done yet, into `progress.part`; gives the learning rate of the last."""
        take_step, progress, n_steps = self.take_step, self.progress, len(self.loader)
        settings, done = self.config.training, progress.part
        total, n_warmup = settings.epochs * n_steps, round(settings.warmup_epochs * n_steps)
        if not done.steps:  # else the numbers go on from where the state has them
            seed_everything(self.config.seed, number)
        take_step.model.train()
        losses = Losses(first_step=number * n_steps, done=done)
        n_slices, started = done.n_slices, time.perf_counter()

        def part(steps: int) -> Part:
            return Part(
                steps=steps,
                loss_sum=losses.sum(),
                n_slices=n_slices,
                seconds=done.seconds + time.perf_counter() - started,
            )

        batches = self.loader.epoch(number, first_step=done.steps)
        rate = 0.0
        for step, (images_NChw, masks_N1hw) in enumerate(batches, start=done.steps):
            meeting = take_step.group.meet(len(images_NChw), stop=bool(self.stop))
            rate = learning_rate(number * n_steps + step, total, n_warmup, self.config.optimizer.learning_rate)
            losses.add(self._take(images_NChw, masks_N1hw, number * n_steps + step, rate, meeting.sizes))
            n_slices += sum(meeting.sizes)
            if self.run_log is not None:
                self.run_log.step()
            last = step + 1 == n_steps
            stopping = meeting.stop or (take_step.group.world == 1 and bool(self.stop))
            if not last and (stopping or self._is_due()):
                progress.part = part(step + 1)
                if self.run_log is not None:
                    _measure(take_step.kernels, None, step=number * n_steps + step + 1)  # no bad state is kept
                    self._save(random_state())
                if stopping:
                    self._raise_stopped()
        progress.part = part(n_steps)
        return rate

    def _take(self, images_NChw: Tensor, masks_N1hw: Tensor, step: int, rate: float, sizes: tuple[int, ...]) -> Tensor:
        """One step; explains itself where memory does not suffice."""
        try:
            return self.take_step(images_NChw, masks_N1hw, step=step, rate=rate, sizes=sizes)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Only here, after the handler, are the tensors of the failed step gone.
        fits = None
        if self.take_step.group.world == 1:
            fits = batch_that_fits(lambda n: self.take_step.fits(images_NChw[:n], masks_N1hw[:n]), len(images_NChw))
        raise out_of_memory(self.config.training.batch_size, fits)

    def _is_due(self) -> bool:
        minutes = self.config.training.checkpoint_minutes
        return self.run_log is not None and 0 < 60 * minutes <= time.monotonic() - self.saved_at

    def _save(self, random: Mapping[str, Tensor]) -> None:
        extras = self.take_step.state() | dict(random)
        save_checkpoint(
            self.folder,
            self.take_step.model,
            self.take_step.optimizer,
            self.progress,
            self.fingerprint,
            extras=extras,
        )
        self.saved_at = time.monotonic()

    def _raise_stopped(self) -> NoReturn:
        step = self.progress.epochs_done * len(self.loader) + self.progress.part.steps
        raise Stopped(
            f"{self.stop.name or 'a signal to another process'}: stopped after step {step} of"
            f" {self.config.training.epochs * len(self.loader)}, the state is saved; give the same command to go on"
        )


class Losses:
    """The losses of an epoch. Each is looked at one step late, so that on CUDA no step waits for its own result."""

    def __init__(self, *, first_step: int, done: Part) -> None:
        self._next_step = first_step + done.steps + 1
        self._sum = done.loss_sum
        self._waiting: Tensor | None = None

    def add(self, loss: Tensor) -> None:
        """Keep this step's loss, and check the one before it."""
        self.sum()
        self._waiting = loss

    def sum(self) -> float:
        """Of all losses so far.

        Raises:
            UserError: one is NaN or infinite; names the step.
        """
        if self._waiting is None:
            return self._sum
        value = self._waiting.item()
        if not math.isfinite(value):
            raise UserError(
                f"the loss is {value} at step {self._next_step}; the last saved state is kept: lower"
                " optimizer.learning_rate or regularizer.strength, or set training.precision to fp32"
            )
        self._sum, self._waiting = self._sum + value, None
        self._next_step += 1
        return self._sum


def _measure(
    kernels: Mapping[str, nn.Parameter], regularizer: Regularizer | None, step: int
) -> tuple[float, dict[str, float]]:
    """The L2 norm of all prunable weights, and the regularizer's term of each layer.

    Raises:
        UserError: the weights are no longer finite.
    """
    norm = math.sqrt(math.fsum(float(kernel.detach().double().square().sum()) for kernel in kernels.values()))
    terms = {} if regularizer is None else regularizer.terms(kernels)
    if not math.isfinite(norm + math.fsum(terms.values())):
        raise UserError(
            f"a weight is NaN or infinite after step {step}; the last saved state is kept: lower"
            " optimizer.learning_rate or regularizer.strength"
        )
    return norm, terms
