"""The study: an Optuna database that several workers share, and which of its cells each takes next."""

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from wcr_med.compare.config import CompareConfig
from wcr_med.compare.database import HEARTBEAT_S, Watch, again_after_races, open_storage
from wcr_med.compare.methods import Method
from wcr_med.compare.plan import Cell, choose_values, final_cells, places, tuning_cells
from wcr_med.compare.recipe import first_difference, study_recipe
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors

_POLL_S = 5.0
_TELL_S = 60.0
"""How often a worker that waits says so."""

_CELL, _ERROR, _CONFIGURATION = "cell", "error", "configuration"

log = logging.getLogger(__name__)

RunCell = Callable[[Cell], float]
"""Trains and scores a cell; gives its objective. A UserError marks it as failed, and the study goes on."""

TrainingOf = Callable[[Cell], Hashable]
"""Equal for cells that share a training."""


class Study:
    """The cells of a comparison in a database.

    Args:
        config: names the study and its storage, and decides the cells.
        methods: of the comparison.
        out: where study.db lies, if no storage is named.
        training_of: cells that share a training are handed out one after the other, so that it is done once; without
            it none do.
        retry_failed: take cells anew that failed before now.

    Raises:
        UserError: the database cannot be opened, or holds a study of this name with another configuration.
    """

    def __init__(
        self,
        config: CompareConfig,
        methods: Sequence[Method],
        out: Path,
        *,
        training_of: TrainingOf = lambda cell: cell,
        retry_failed: bool = False,
    ) -> None:
        self._config = config
        self._methods = methods
        self._names = {method.name for method in methods}
        self._training_of = training_of
        self._url = config.study.storage or f"sqlite:///{out / 'study.db'}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed cell is told of in one line, here
        # Heartbeats have been experimental for years; a reader can do nothing about it.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        if config.study.storage is None:
            with explain_os_errors(out):
                out.mkdir(parents=True, exist_ok=True)
        self._watch, self._told_at = Watch(), -_TELL_S
        with self._explained():
            self._storage = storage = open_storage(self._url)
            self._study = again_after_races(
                lambda: optuna.create_study(
                    study_name=config.study.name, storage=storage, load_if_exists=True, direction="maximize"
                )
            )
            self._check_configuration()
            self._forgiven = len(self._study.get_trials(deepcopy=False)) if retry_failed else 0

    def work(self, run_cell: RunCell, *, max_trials: int | None = None, seconds: float | None = None) -> int:
        """Take cells until none is left, and wait for those that others are at where later ones depend on them.

        Args:
            run_cell: does one.
            max_trials: take at most this many.
            seconds: take no new cell after this time.

        Returns:
            How many were taken.

        Raises:
            UserError: the database is locked or gone. What was finished before is in it and in the result files.
        """
        started, done = time.monotonic(), 0
        while (max_trials is None or done < max_trials) and (seconds is None or time.monotonic() - started < seconds):
            with self._explained():
                waiting = self._enqueue()
                if waiting:
                    done += self._take(run_cell)
                elif self._running() and not self.complete:
                    self._tell_waiting()
                    time.sleep(_POLL_S)
                else:
                    break
        return done

    @property
    def complete(self) -> bool:
        """Whether every cell is done or has failed."""
        with self._explained():
            settled = self._settled()
            return all(cell.key in settled for cell in self._cells(settled))

    def failures(self) -> list[tuple[Cell, str]]:
        """Cells that failed and have not been done since, and why."""
        with self._explained():
            settled = self._settled()
            failed = {
                Cell.from_dict(trial.user_attrs[_CELL]).key: str(trial.user_attrs[_ERROR])
                for trial in self._trials()
                if _ERROR in trial.user_attrs
            }
            # Of those that there are now: after a tuning that failed and was done again another strength may be chosen.
            open_cells = [cell for cell in self._cells(settled) if settled.get(cell.key) is None]
            return [(cell, failed[cell.key]) for cell in open_cells if cell.key in failed]

    def _cells(self, settled: Mapping[str, float | None]) -> list[Cell]:
        """The cells of the comparison, as far as strengths are chosen; tuning first."""
        methods, study = self._methods, self._config.study
        return tuning_cells(methods, study) + final_cells(methods, study, choose_values(methods, study, settled))

    def _trials(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if _CELL in trial.user_attrs]

    def _settled(self) -> dict[str, float | None]:
        """The score of each finished cell by key; `None` for one that failed by a fault of its own."""
        scores: dict[str, float | None] = {}
        for trial in self._trials():
            key = Cell.from_dict(trial.user_attrs[_CELL]).key
            if trial.state == TrialState.COMPLETE:
                scores[key] = trial.value
            elif _ERROR in trial.user_attrs and trial.number >= self._forgiven:
                scores.setdefault(key, None)
        return scores

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state == TrialState.RUNNING]

    def _release_silent(self) -> None:
        """Give up trials that show no sign of life while this worker looks on, which the database's clock misses."""
        running = {trial._trial_id: trial for trial in self._running()}
        for trial_id, seconds in self._watch.silent_s(list(running), self._storage.heartbeats()).items():
            if seconds > 2 * HEARTBEAT_S:
                cell = Cell.from_dict(running[trial_id].user_attrs[_CELL])
                log.info("cell %s: its worker has been silent for %.0f s; the cell is taken again", cell.key, seconds)
                self._study.tell(running[trial_id].number, state=TrialState.FAIL, skip_if_finished=True)

    def _tell_waiting(self) -> None:
        """Say what this worker waits for, at first and every now and then."""
        now, running = time.monotonic(), self._running()
        if now - self._told_at < _TELL_S or not running:
            return
        self._told_at = now
        cells = [Cell.from_dict(trial.user_attrs[_CELL]).key for trial in running]
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        log.info(
            "waiting for other workers: %s%s; a worker that gives no sign of life for %d s counts as dead, and its cell"
            " is taken again",
            cells[0], more, 2 * HEARTBEAT_S,
        )  # fmt: skip

    def _enqueue(self) -> bool:
        """Add the cells that can be done now and are not in the study; whether any waits."""
        optuna.storages.fail_stale_trials(self._study)
        self._release_silent()
        open_states = (TrialState.WAITING, TrialState.RUNNING)
        open_trials = [trial for trial in self._trials() if trial.state in open_states]
        if any(trial.state == TrialState.WAITING for trial in open_trials):
            return True
        taken = [Cell.from_dict(trial.user_attrs[_CELL]) for trial in open_trials]
        trainings = {self._training_of(cell) for cell in taken if cell.method in self._names}
        settled = self._settled()
        left = [
            cell
            for cell in self._cells(settled)
            if cell.key not in settled and self._training_of(cell) not in trainings
        ]
        for place in places(self._config.study):  # one at a time: a study that is stopped holds whole columns
            here = [cell for cell in left if cell.place == place]
            phase = here[0].phase if here else None  # tuning before what depends on it
            free: dict[Hashable, Cell] = {}
            for cell in here:
                if cell.phase == phase:
                    free.setdefault(self._training_of(cell), cell)
            for cell in free.values():
                self._study.enqueue_trial({}, user_attrs={_CELL: cell.to_dict()})
            if free:
                return True
        return False

    def _take(self, run_cell: RunCell) -> int:
        """Take one waiting cell, if no other worker was faster; whether one was taken, as 0 or 1."""
        taken, finished = 0, False

        def objective(trial: optuna.Trial) -> float:
            nonlocal taken, finished
            document = trial.user_attrs.get(_CELL)
            # None: another worker was faster. A method that only another worker's configuration has is left to it.
            if document is None or document["method"] not in self._names or self._is_double(trial, document):
                raise optuna.TrialPruned
            taken = 1
            try:
                score = run_cell(Cell.from_dict(document))
            except UserError as error:
                trial.set_user_attr(_ERROR, str(error))
                log.warning("%s failed: %s", Cell.from_dict(document).key, error)
                raise
            finished = True
            return score

        try:
            self._study.optimize(objective, n_trials=1, catch=(UserError,))
        except (ValueError, AssertionError, optuna.exceptions.UpdateFinishedTrialError):  # as Optuna takes it
            if not finished:
                raise
            # This process was stopped for so long that another one took the cell, and finds the result file.
            log.warning("the cell was given to another worker meanwhile; its result is kept")
        return taken

    def _is_double(self, trial: optuna.Trial, document: dict[str, Any]) -> bool:
        """Whether another trial holds the same cell: two workers may have added it at the same moment."""
        states = (TrialState.RUNNING, TrialState.COMPLETE)
        return any(
            other.user_attrs[_CELL] == document and other.number < trial.number and other.state in states
            for other in self._trials()
        )

    def _check_configuration(self) -> None:
        """Refuse to mix results of two recipes under one name; more methods, seeds and folds may come later."""
        now = study_recipe(self._config, self._methods)
        before = self._study.user_attrs.get(_CONFIGURATION, {})
        differs = first_difference(before, now)
        if differs is not None:
            raise UserError(
                f"study {self._config.study.name} in {self._url}: was begun with {differs} {before[differs]}, now it is"
                f" {now[differs]}; set it back, or choose another study.name and --out"
            )
        if before | now != before:
            self._study.set_user_attr(_CONFIGURATION, before | now)
            # Two workers with two recipes may both have found none.
            self._check_configuration()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """One line for a database that is locked, gone, or no database, or whose driver is missing."""
        kinds = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
        try:
            yield
        except ImportError as error:
            raise UserError(
                f"study.storage {self._url}: its driver is not installed ({error.__cause__ or error}); for PostgreSQL:"
                " pip install 'wcr-med[postgresql]', and write the URL as postgresql+psycopg://USER@HOST/DATABASE"
            ) from None
        except kinds as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            raise UserError(
                f"study.storage {self._url}: {cause}; nothing is lost: results are in the trials folder, give the same"
                " command when the database can be reached"
            ) from None
