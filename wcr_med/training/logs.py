"""What a training tells while it runs: CSV files, TensorBoard, MLflow, and a bar on a terminal or lines elsewhere."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wcr_med.files import explain_os_errors, write_csv
from wcr_med.log_format import shows_bar
from wcr_med.training.progress import Progress
from wcr_med.training.tracking import MlflowLog, open_mlflow

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HISTORY_NAME = "history.csv"
TERMS_NAME = "regularizer_terms.csv"
TENSORBOARD_NAME = "tensorboard"

_LINE_SECONDS = 60.0  # between two lines where there is no terminal


class RunLog:
    """The files and the display of one training. Made by `open_run_log`."""

    def __init__(
        self,
        folder: Path,
        writer: "SummaryWriter | None",
        mlflow: MlflowLog | None,
        bar: "tqdm[Any] | None",
        log: logging.Logger,
        *,
        n_epochs: int,
        n_steps: int,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._mlflow = mlflow
        self._bar = bar
        self._log = log
        self._n_epochs = n_epochs
        self._n_steps = n_steps
        self._epoch = progress.epochs_done + 1
        self._steps_before = progress.part.steps  # of this epoch, by an earlier process
        self._steps_done = self._steps_before
        self._epoch_began = self._last_line = time.monotonic()

    def step(self) -> None:
        """A step is done."""
        self._steps_done += 1
        if self._bar is not None:
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            seconds_a_step = (now - self._epoch_began) / (self._steps_done - self._steps_before)
            left = seconds_a_step * (self._n_steps - self._steps_done)
            self._log.info(
                "step %d of %d, %.0f s to the end of the epoch", self._steps_done, self._n_steps, left,
                extra={
                    "epoch": self._epoch,
                    "epochs": self._n_epochs,
                    "step": self._steps_done,
                    "steps": self._n_steps,
                    "seconds_left": left + seconds_a_step * self._n_steps * (self._n_epochs - self._epoch),
                },
            )  # fmt: skip

    def epoch(self, progress: Progress) -> None:
        """An epoch is done: one line, one row in each CSV file, one point in each curve.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        row, terms = progress.history[-1], progress.terms[-1]
        self._log.info("%s", _line(progress, self._n_epochs), extra=_fields(progress, self._n_epochs))
        write_tables(self._folder, progress)
        if self._writer is not None:
            with explain_os_errors(self._folder / TENSORBOARD_NAME):
                for name, value in asdict(row).items():
                    if name != "epoch" and value is not None:
                        self._writer.add_scalar(f"training/{name}", value, row.epoch)
                for layer, term in terms.items():
                    self._writer.add_scalar(f"regularizer/{layer}", term, row.epoch)
                self._writer.flush()
        if self._mlflow is not None:
            self._mlflow.send(progress)
        self._epoch = progress.epochs_done + 1
        self._steps_done = self._steps_before = 0
        self._epoch_began = self._last_line = time.monotonic()


@contextlib.contextmanager
def open_run_log(
    folder: Path,
    progress: Progress,
    *,
    n_epochs: int,
    n_steps: int,
    log: logging.Logger,
    track: tuple[str, ...] = ("tensorboard",),
    config: Mapping[str, Any] | None = None,
) -> Iterator[RunLog]:
    """Open the log of a training for the length of a block.

    Args:
        folder: of the training; `tensorboard`, and what MLflow needs, are made in it.
        progress: what a resumed training has behind it; points of an earlier attempt beyond that are hidden.
        n_epochs: epochs in all.
        n_steps: steps of an epoch.
        log: takes the lines; on a terminal they pass above the bar.
        track: tensorboard, mlflow, both or none.
        config: becomes MLflow's parameters.

    Raises:
        UserError: MLflow is wanted and not installed, the disk is full or the folder cannot be written.
    """
    done = progress.epochs_done
    if done:
        write_tables(folder, progress)  # a kill may have come between the state and its row
    with contextlib.ExitStack() as stack:
        writer = mlflow = bar = None
        if "tensorboard" in track:
            from torch.utils.tensorboard import SummaryWriter

            with explain_os_errors(folder / TENSORBOARD_NAME):
                writer = SummaryWriter(str(folder / TENSORBOARD_NAME), purge_step=done + 1)
            stack.callback(writer.close)
        if "mlflow" in track:
            mlflow = stack.enter_context(open_mlflow(folder, progress, config, log))
        if shows_bar():
            stack.enter_context(logging_redirect_tqdm())
            steps_done = done * n_steps + progress.part.steps
            bar = tqdm(total=n_epochs * n_steps, initial=steps_done, desc="training", unit="step", smoothing=0.05)
            stack.callback(bar.close)
        yield RunLog(folder, writer, mlflow, bar, log, n_epochs=n_epochs, n_steps=n_steps, progress=progress)


def write_tables(folder: Path, progress: Progress) -> None:
    """Write history.csv and, where a regularizer has terms, regularizer_terms.csv; `None` becomes an empty cell.

    Args:
        folder: of the training.
        progress: at least one epoch.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    history = [asdict(row) for row in progress.history]
    write_csv(folder / HISTORY_NAME, list(history[0]), history)
    if progress.terms[-1]:
        rows = [{"epoch": number, **terms} for number, terms in enumerate(progress.terms, start=1)]
        write_csv(folder / TERMS_NAME, list(rows[0]), rows)


def _line(progress: Progress, n_epochs: int) -> str:
    row = progress.history[-1]
    parts = [f"epoch {row.epoch} of {n_epochs}: loss {row.loss:.4f}"]
    if row.regularizer is not None:
        parts.append(f"regularizer {row.regularizer:.4g}")
    if row.dice_patient is not None and row.f1_pooled is not None:
        parts.append(
            f"dice_patient {row.dice_patient:.4f}, f1_pooled {row.f1_pooled:.4f} (best epoch {progress.best_epoch})"
        )
    minutes_left = _seconds_left(progress, n_epochs) / 60
    parts.append(f"{row.images_per_second:.1f} images/s, {minutes_left:.0f} min left")
    return ", ".join(parts)


def _fields(progress: Progress, n_epochs: int) -> dict[str, Any]:
    seconds_left = _seconds_left(progress, n_epochs)
    best = {"best_epoch": progress.best_epoch, "best_dice": progress.best_dice}
    return asdict(progress.history[-1]) | {"epochs": n_epochs, **best, "seconds_left": seconds_left}


def _seconds_left(progress: Progress, n_epochs: int) -> float:
    return progress.seconds / progress.epochs_done * (n_epochs - progress.epochs_done)
