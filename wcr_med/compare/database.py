"""The database of a study: opened by several workers at once, and which trials no worker gives a sign of life for."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.trial import TrialState
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

HEARTBEAT_S = 60
"""A worker that is silent for twice this long counts as dead, and its cell is taken again."""

LOCK_S = 60.0
"""How long a worker waits for another to let go of an SQLite file, or to finish making the tables."""

_RACE_POLL_S = 0.2
_RACES = ("already exists", "duplicate", "concurrently updated", "UNIQUE constraint")

R = TypeVar("R")


class Storage(optuna.storages.RDBStorage):
    """Optuna's database, in which a trial has a sign of life before it counts as running."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As of Optuna. A worker that is killed right after it took a trial leaves one that can be found stale."""
        if state == TrialState.RUNNING:
            with contextlib.suppress(IntegrityError):  # another worker wrote it, and is about to take the trial
                self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def heartbeats(self) -> dict[int, str]:
        """The last sign of life of every trial that ever gave one, by the trial's number in the database."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT trial_id, heartbeat FROM trial_heartbeats")).all()
        return {int(trial_id): str(heartbeat) for trial_id, heartbeat in rows}


@dataclass
class Watch:
    """Which trials show no sign of life while this process looks on; by its own clock, whatever the database's says.

    A worker that was killed before its first sign, or whose last one lies in the future since a clock was set back,
    would else count as alive for ever.
    """

    _seen: dict[int, tuple[str | None, float]] = field(default_factory=dict)

    def silent_s(self, running: Sequence[int], heartbeats: Mapping[int, str]) -> dict[int, float]:
        """For how many seconds each running trial has shown nothing new; 0 for one that is seen first."""
        now = time.monotonic()
        before, self._seen = self._seen, {}
        for trial_id in running:
            beat = heartbeats.get(trial_id)
            known = before.get(trial_id)
            self._seen[trial_id] = known if known is not None and known[0] == beat else (beat, now)
        return {trial_id: now - since for trial_id, (_, since) in self._seen.items()}


def open_storage(url: str) -> Storage:
    """The database behind a URL; the tables are made where there are none.

    Raises:
        SQLAlchemyError, StorageInternalError: it is locked, cannot be reached, or is no database.
        ImportError: its driver is not installed.
    """
    is_file = url.startswith("sqlite")
    arguments: dict[str, Any] = {"connect_args": {"timeout": LOCK_S}} if is_file else {"pool_pre_ping": True}
    storage = again_after_races(
        lambda: Storage(url, engine_kwargs=arguments, heartbeat_interval=HEARTBEAT_S, grace_period=2 * HEARTBEAT_S)
    )
    if is_file:
        # By itself SQLite's driver reads before it locks, and two workers could take one cell.
        event.listen(storage.engine, "connect", _leave_transactions)
        event.listen(storage.engine, "begin", _begin_immediately)
        storage.engine.dispose()  # connections from before have the driver's own ways
    return storage


def again_after_races(work: Callable[[], R]) -> R:
    """Do what several workers may do first, such as making tables; again where another one was faster."""
    started = time.monotonic()
    while True:
        try:
            return work()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = f"{error} {error.__cause__ or ''}"
            if not any(race in reason for race in _RACES) or time.monotonic() - started > LOCK_S:
                raise
        time.sleep(_RACE_POLL_S)


def _leave_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _begin_immediately(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
