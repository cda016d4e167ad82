"""The training loop, from top to bottom."""

import contextlib
import logging
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wcr_med.augment import build_augmenter
from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.dataset import TrainingLoader
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors
from wcr_med.optimizers import learning_rate
from wcr_med.regularizers import Regularizer
from wcr_med.training.checkpoint import (
    PREVIOUS_NAME,
    STATE_NAME,
    load_checkpoint,
    load_weights_,
    save_checkpoint,
    save_weights,
)
from wcr_med.training.deciding import deciding_fields
from wcr_med.training.logs import HISTORY_NAME, TENSORBOARD_NAME, TERMS_NAME, open_run_log
from wcr_med.training.parts import Parts
from wcr_med.training.processor import choose_processor, processor_settings, seed_everything
from wcr_med.training.progress import EpochRow, Progress
from wcr_med.training.step import TrainingStep, build_step
from wcr_med.training.validation import ValidationScores, validate

BEST_NAME = "best.safetensors"
LAST_NAME = "last.safetensors"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training reached.

    Attributes:
        best_epoch: counted from 1.
        best_dice: validation `dice_patient` of that epoch; `None` where no validation patient had a defined Dice.
        epochs_run: epochs in all, those before an interruption included.
        stopped_early: whether `training.patience` ended it.
        seconds: wall time of all epochs.
    """

    best_epoch: int
    best_dice: float | None
    epochs_run: int
    stopped_early: bool
    seconds: float


def train(
    model: nn.Module,
    cache: SliceCache,
    split: Parts,
    config: Config,
    *,
    folder: Path,
    regularizer: Regularizer | None = None,
    data_hash: str | None = None,
    resume: bool = False,
    log: logging.Logger = _LOG,
) -> TrainResult:
    """Train the model in place; on return it holds the best epoch's weights, on the CPU, in evaluation mode.

    What a step is, `TrainingStep` says.

    `folder` gets `best.safetensors` and `last.safetensors` (weights), the state of the last two epochs, `history.csv`,
    `regularizer_terms.csv` and `tensorboard/`. Everything random is drawn from `config.seed` and the epoch's number, so
    on a CPU a resumed training reaches the weights of an uninterrupted one bit for bit, given as many threads.

    Args:
        model: gives logits_N1hw; initialised.
        cache: the slices of all whom the split names.
        split: who trains and who validates; patients, always, but for the warning of `wcr_med.stages.leak`.
        config: the whole run; seed, augment, loss, optimizer, training and regularizer are used here.
        folder: of this training; made if missing.
        regularizer: the one that `config.regularizer` names; `None` for none.
        data_hash: of the images (`wcr_med.data.content.content_hash`); a resume with other images is refused.
        resume: go on from the folder's state, if it has one; else what an earlier training left there is deleted.
        log: takes the lines.

    Raises:
        UserError: the loss is NaN or infinite, the disk is full, the state in the folder is of another configuration or
            another network, there are no slices to train on, or CUDA is asked for and absent.
    """
    settings = config.training
    with processor_settings(settings.threads), contextlib.ExitStack() as stack:
        processor = choose_processor(settings)
        processor.place_model(model)
        loader = TrainingLoader(
            cache,
            cache.rows(split.train),
            build_augmenter(config.augment),
            batch_size=settings.batch_size,
            other_per_tumour=settings.other_per_tumour,
            seed=config.seed,
            workers=settings.loader_workers,
        )
        n_steps = len(loader)
        n_warmup = round(settings.warmup_epochs * n_steps)
        take_step = build_step(model, config, processor, regularizer, n_steps=settings.epochs * n_steps)
        fingerprint = deciding_fields(config) | {"split": split.hash, "data": data_hash, "steps_per_epoch": n_steps}
        progress = _begin(folder, take_step, fingerprint, resume=resume, log=log)
        log.info("training on %s: %d steps an epoch", processor, n_steps)
        run_log = stack.enter_context(
            open_run_log(folder, progress, n_epochs=settings.epochs, n_steps=n_steps, log=log)
        )

        while not _finished(progress, config):
            epoch, started = progress.epochs_done, time.perf_counter()
            seed_everything(config.seed, epoch)
            losses, n_images = _Losses(first_step=epoch * n_steps), 0
            model.train()
            for step, (images_NChw, masks_N1hw) in enumerate(loader.epoch(epoch), start=epoch * n_steps):
                rate = learning_rate(step, settings.epochs * n_steps, n_warmup, config.optimizer.learning_rate)
                losses.add(take_step(images_NChw, masks_N1hw, step=step, rate=rate))
                n_images += len(images_NChw)
                run_log.step()

            mean_loss, trained = losses.mean(), time.perf_counter()
            norm, terms = _measure(take_step.kernels, regularizer, step=(epoch + 1) * n_steps)
            scores = ValidationScores()
            if (epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs:
                scores = validate(model, cache, split.validation, processor, batch_size=2 * settings.batch_size)
            row = EpochRow(
                epoch=epoch + 1,
                loss=mean_loss,
                regularizer=sum(terms.values()) if regularizer is not None else None,
                learning_rate=rate,
                weight_norm=norm,
                dice_patient=scores.dice_patient,
                f1_pooled=scores.f1_pooled,
                images_per_second=n_images / (trained - started),
                seconds=time.perf_counter() - started,
            )
            if progress.note(row, terms, validated=scores.measured):
                save_weights(folder / BEST_NAME, model)
            save_checkpoint(folder, model, take_step.optimizer, progress, fingerprint, extras=take_step.state())
            run_log.epoch(progress)

        save_weights(folder / LAST_NAME, model)
        load_weights_(folder / BEST_NAME, model)
        model.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return TrainResult(
        best_epoch=progress.best_epoch,
        best_dice=progress.best_dice,
        epochs_run=progress.epochs_done,
        stopped_early=progress.epochs_done < settings.epochs,
        seconds=progress.seconds,
    )


class _Losses:
    """The losses of an epoch. Each is looked at one step late, so that on CUDA no step waits for its own result."""

    def __init__(self, *, first_step: int) -> None:
        self._first_step = first_step
        self._losses: list[Tensor] = []
        self._sum = 0.0

    def add(self, loss: Tensor) -> None:
        """Keep this step's loss, and check the one before it."""
        if self._losses:
            self._check(len(self._losses) - 1)
        self._losses.append(loss)

    def mean(self) -> float:
        """The mean over all steps of the epoch."""
        self._check(len(self._losses) - 1)
        return self._sum / len(self._losses)

    def _check(self, index: int) -> None:
        value = self._losses[index].item()
        if not math.isfinite(value):
            raise UserError(
                f"the loss is {value} at step {self._first_step + index + 1}; the state of the last finished epoch is"
                " kept: lower optimizer.learning_rate or regularizer.strength, or set training.precision to fp32"
            )
        self._sum += value


def _begin(
    folder: Path,
    take_step: TrainingStep,
    fingerprint: Mapping[str, Any],
    *,
    resume: bool,
    log: logging.Logger,
) -> Progress:
    """Restore the folder's state where one is wanted and there; else start from nothing."""
    checkpoint = load_checkpoint(folder, log) if resume else None
    if checkpoint is None:
        _clear(folder)
        return Progress()
    checkpoint.check_fingerprint(fingerprint)
    checkpoint.restore(take_step.model, take_step.optimizer)
    take_step.load_state(checkpoint.extras)
    log.info("resumed after epoch %d from %s", checkpoint.progress.epochs_done, checkpoint.path)
    return checkpoint.progress


def _clear(folder: Path) -> None:
    """Delete what an earlier training left, so that nothing of it is taken for this one's."""
    with explain_os_errors(folder):
        for name in (STATE_NAME, PREVIOUS_NAME, BEST_NAME, LAST_NAME, HISTORY_NAME, TERMS_NAME):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TENSORBOARD_NAME, ignore_errors=True)


def _finished(progress: Progress, config: Config) -> bool:
    settings = config.training
    out_of_patience = 0 < settings.patience <= progress.validations_without_better
    return progress.epochs_done >= settings.epochs or out_of_patience


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
            f"a weight is NaN or infinite after step {step}; the state of the last finished epoch is kept: lower"
            " optimizer.learning_rate or regularizer.strength"
        )
    return norm, terms
