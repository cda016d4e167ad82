"""The training loop, from top to bottom."""

import contextlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.data.loader import TrainingLoader
from wcr_med.files import explain_os_errors
from wcr_med.provenance import available_cores
from wcr_med.regularizers import Regularizer
from wcr_med.training.checkpoint import (
    PREVIOUS_NAME,
    STATE_NAME,
    load_checkpoint,
    load_weights_,
    require_weights,
    save_weights,
)
from wcr_med.training.compiled import compiled
from wcr_med.training.deciding import deciding_fields
from wcr_med.training.distributed import Group
from wcr_med.training.epochs import BEST_NAME, EpochRunner
from wcr_med.training.headroom import warn_if_short
from wcr_med.training.loaders import open_loader
from wcr_med.training.logs import HISTORY_NAME, TENSORBOARD_NAME, TERMS_NAME, open_run_log
from wcr_med.training.norms import synchronised_norms
from wcr_med.training.parts import Parts
from wcr_med.training.processor import choose_processor, processor_settings
from wcr_med.training.progress import Progress
from wcr_med.training.randomness import set_random_state
from wcr_med.training.step import TrainingStep, build_step
from wcr_med.training.stopping import stop_on_signals
from wcr_med.training.tracking import MLFLOW_NAME

LAST_NAME = "last.safetensors"

_LOG = logging.getLogger(__name__)
_QUIET = logging.getLogger(f"{__name__}.quiet")  # of all processes but the main one
_QUIET.disabled = True


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
    plan_hash: str | None = None,
    resume: bool = False,
    group: Group | None = None,
    log: logging.Logger = _LOG,
) -> TrainResult:
    """Train the model in place; on return it holds the best epoch's weights, on the CPU, in evaluation mode.

    What a step is, `TrainingStep` says.

    `folder` gets `best.safetensors` and `last.safetensors` (weights), the last two states, `history.csv`,
    `regularizer_terms.csv` and `tensorboard/`. Everything random is drawn from `config.seed` and the epoch's number, so
    on a CPU a resumed training reaches the weights of an uninterrupted one bit for bit, given as many threads.

    Several processes may train together. Each takes its part of every batch; the main one alone writes and holds the
    best weights at the end.

    Args:
        model: gives logits_N1hw; initialised.
        cache: the slices of all whom the split names.
        split: who trains and who validates; patients, always, but for the warning of `wcr_med.stages.leak`.
        config: the whole run; seed, augment, loss, optimizer, training and regularizer are used here.
        folder: of this training; made if missing.
        regularizer: the one that `config.regularizer` names; `None` for none.
        data_hash: of the images (`wcr_med.data.content.content_hash`); a resume with other images is refused.
        plan_hash: of the study's plan; a resume under another plan is refused. `None` for a training that has none.
        resume: go on from the folder's state, if it has one; else what an earlier training left there is deleted.
        group: the processes that train together; `None` for this one alone.
        log: takes the lines.

    Raises:
        UserError: the loss is NaN or infinite, the disk is full, a batch does not fit in memory, the state in the
            folder is of another configuration or another network, processes differ in data or configuration, there are
            no slices to train on, or CUDA is asked for and absent.
        Stopped: a signal asked for it; the state is saved.
    """
    settings, group = config.training, group or Group()
    if not group.is_main:
        log = _QUIET
    with contextlib.ExitStack() as stack:
        stack.enter_context(processor_settings(settings.threads or max(1, available_cores() // group.local_world)))
        stop = stack.enter_context(stop_on_signals(log))
        processor = choose_processor(settings)
        processor.place_model(model)
        rows = cache.rows(split.train)
        loader = open_loader(model, cache, rows, config, processor, rank=group.rank, world=group.world, log=log)
        stack.callback(loader.close)
        if group.is_main:
            warn_if_short(
                model,
                cache,
                config,
                device=processor.device,
                streamed=isinstance(loader, TrainingLoader),
                n_slices=len(rows),
                world=group.world,
                local_world=group.local_world,
                log=log,
            )
        # From here on a pass of the model is one of all processes.
        stack.enter_context(synchronised_norms(model, group))
        # Where the compiler failed in one process alone, the others would wait for it.
        stack.enter_context(compiled(model, wanted=settings.compile and group.world == 1, log=log))
        n_steps = len(loader)
        take_step = build_step(model, config, processor, regularizer, n_steps=settings.epochs * n_steps, group=group)
        fingerprint = deciding_fields(config) | {"split": split.hash, "data": data_hash, "steps_per_epoch": n_steps}
        fingerprint |= {} if plan_hash is None else {"plan": plan_hash}
        group.require_equal(fingerprint)
        progress = _begin(folder, take_step, fingerprint, resume=resume, log=log)
        log.info("training on %s%s: %d steps an epoch", processor, _together(group), n_steps)
        training = EpochRunner(
            config=config,
            cache=cache,
            split=split,
            folder=folder,
            loader=loader,
            take_step=take_step,
            progress=progress,
            fingerprint=fingerprint,
            stop=stop,
        )
        if group.is_main:
            training.run_log = stack.enter_context(
                open_run_log(
                    folder,
                    progress,
                    n_epochs=settings.epochs,
                    n_steps=n_steps,
                    log=log,
                    track=settings.track,
                    config=config.model_dump(mode="json"),
                )
            )
        while not training.finished:
            training.epoch()
        if group.is_main:
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


def _begin(
    folder: Path,
    take_step: TrainingStep,
    fingerprint: Mapping[str, Any],
    *,
    resume: bool,
    log: logging.Logger,
) -> Progress:
    """Restore the folder's state where one is wanted and there; else start from nothing."""
    group = take_step.group
    checkpoint = group.tell(load_checkpoint(folder, log) if resume and group.is_main else None)
    if checkpoint is None:
        if group.is_main:
            _clear(folder)
        return Progress()
    checkpoint.check_fingerprint(fingerprint)
    if group.is_main and checkpoint.progress.best_epoch:
        require_weights(folder / BEST_NAME)
    checkpoint.restore(take_step.model, take_step.optimizer)
    take_step.load_state(checkpoint.extras)
    set_random_state(checkpoint.extras)
    progress = checkpoint.progress
    within = f" and {progress.part.steps} steps" if progress.part.steps else ""
    log.info("resumed after epoch %d%s from %s", progress.epochs_done, within, checkpoint.path)
    return progress


def _together(group: Group) -> str:
    return "" if group.world == 1 else f", {group.world} processes together"


def _clear(folder: Path) -> None:
    """Delete what an earlier training left, so that nothing of it is taken for this one's."""
    with explain_os_errors(folder):
        for name in (STATE_NAME, PREVIOUS_NAME, BEST_NAME, LAST_NAME, HISTORY_NAME, TERMS_NAME, MLFLOW_NAME):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TENSORBOARD_NAME, ignore_errors=True)
