"""What a training tells while it runs: CSV files, TensorBoard, and a bar on a terminal or lines elsewhere."""

import contextlib
import csv
import io
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wcr_med.files import explain_os_errors, write_text
from wcr_med.training.progress import Progress

HISTORY_NAME = "history.csv"
TERMS_NAME = "regularizer_terms.csv"
TENSORBOARD_NAME = "tensorboard"

_LINE_SECONDS = 60.0  # between two lines where there is no terminal


class RunLog:
    """The files and the display of one training. Made by `open_run_log`."""

    def __init__(
        self,
        folder: Path,
        writer: SummaryWriter,
        bar: "tqdm[Any] | None",
        log: logging.Logger,
        *,
        n_epochs: int,
        n_steps: int,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._bar = bar
        self._log = log
        self._n_epochs = n_epochs
        self._n_steps = n_steps
        self._steps_done = 0  # of this epoch
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
            left = (now - self._epoch_began) / self._steps_done * (self._n_steps - self._steps_done)
            self._log.info("step %d of %d, %.0f s to the end of the epoch", self._steps_done, self._n_steps, left)

    def epoch(self, progress: Progress) -> None:
        """An epoch is done: one line, one row in each CSV file, one point in each TensorBoard curve.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        row, terms = progress.history[-1], progress.terms[-1]
        self._log.info("%s", _line(progress, self._n_epochs))
        write_tables(self._folder, progress)
        with explain_os_errors(self._folder / TENSORBOARD_NAME):
            for name, value in asdict(row).items():
                if name != "epoch" and value is not None:
                    self._writer.add_scalar(f"training/{name}", value, row.epoch)
            for layer, term in terms.items():
                self._writer.add_scalar(f"regularizer/{layer}", term, row.epoch)
            self._writer.flush()
        self._steps_done = 0
        self._epoch_began = self._last_line = time.monotonic()


@contextlib.contextmanager
def open_run_log(
    folder: Path, progress: Progress, *, n_epochs: int, n_steps: int, log: logging.Logger
) -> Iterator[RunLog]:
    """Open the log of a training for the length of a block.

    Args:
        folder: of the training; `tensorboard` is made in it.
        progress: what a resumed training has behind it; points of an earlier attempt beyond that are hidden.
        n_epochs: epochs in all.
        n_steps: steps of an epoch.
        log: takes the lines; on a terminal they pass above the bar.
    """
    done = progress.epochs_done
    if done:
        write_tables(folder, progress)  # a kill may have come between the state and its row
    with contextlib.ExitStack() as stack:
        with explain_os_errors(folder / TENSORBOARD_NAME):
            writer = SummaryWriter(str(folder / TENSORBOARD_NAME), purge_step=done + 1)
        stack.callback(writer.close)
        bar = None
        if sys.stderr.isatty():
            stack.enter_context(logging_redirect_tqdm())
            bar = tqdm(total=n_epochs * n_steps, initial=done * n_steps, desc="training", unit="step", smoothing=0.05)
            stack.callback(bar.close)
        yield RunLog(folder, writer, bar, log, n_epochs=n_epochs, n_steps=n_steps)


def write_tables(folder: Path, progress: Progress) -> None:
    """Write history.csv and, where a regularizer has terms, regularizer_terms.csv; `None` becomes an empty cell.

    Args:
        folder: of the training.
        progress: at least one epoch.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    _write_table(folder / HISTORY_NAME, [asdict(row) for row in progress.history])
    if progress.terms[-1]:
        rows = [{"epoch": number, **terms} for number, terms in enumerate(progress.terms, start=1)]
        _write_table(folder / TERMS_NAME, rows)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _line(progress: Progress, n_epochs: int) -> str:
    row = progress.history[-1]
    parts = [f"epoch {row.epoch} of {n_epochs}: loss {row.loss:.4f}"]
    if row.regularizer is not None:
        parts.append(f"regularizer {row.regularizer:.4g}")
    if row.dice_patient is not None and row.f1_pooled is not None:
        parts.append(
            f"dice_patient {row.dice_patient:.4f}, f1_pooled {row.f1_pooled:.4f} (best epoch {progress.best_epoch})"
        )
    minutes_left = progress.seconds / progress.epochs_done * (n_epochs - progress.epochs_done) / 60
    parts.append(f"{row.images_per_second:.1f} images/s, {minutes_left:.0f} min left")
    return ", ".join(parts)
