"""The curves of a training in MLflow: parameters once, metrics an epoch, one run however often it is interrupted.

Nothing here stops a training but a missing package: where the store is away, or MLflow refuses its address, one warning
says so, and the points are sent later.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wcr_med.documents import flatten
from wcr_med.errors import Stopped, UserError
from wcr_med.files import explain_os_errors, read_json, write_json
from wcr_med.training.progress import Progress

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MLFLOW_NAME = "mlflow.json"  # which run a resumed training goes on in
STORE_NAME = "mlflow.db"

_EXPERIMENT = "wcr-med"
_SECONDS_BETWEEN_TRIES = 60.0
_PARAMETERS_AT_ONCE = 100  # limits of MLflow's service
_METRICS_AT_ONCE = 1000
_LONGEST_VALUE = 6000
_PROBE = "training/loss"  # is in every epoch
_CONNECT_SECONDS = 10
_CREDENTIALS = re.compile(r"//[^/@]+@")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")

# An absent server is noticed within seconds, not after MLflow's own many minutes. Its lines take the way of ours, and
# it reports to nobody. What the user has set stays.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MlflowLog:
    """One training in MLflow. Made by `open_mlflow`."""

    def __init__(self, folder: Path, uri: str | None, config: Mapping[str, Any], log: logging.Logger) -> None:
        self._folder = folder
        self._client: MlflowClient | None = None  # made by the first call, which MLflow may refuse
        self._uri = uri
        self._config = config
        self._log = log
        self._progress = Progress()
        self._run_id: str | None = None
        self._n_sent = 0  # epochs
        self._next_try = 0.0
        self._warned = False

    def send(self, progress: Progress) -> None:
        """Send all epochs that the store does not have; where it is away, leave them for the next call."""
        self._progress = progress
        if time.monotonic() < self._next_try:
            return
        with self._forgiving():
            client = self._connected()
            run_id = self._run_id = self._run_id or self._begin(client, progress)
            for number in range(self._n_sent, progress.epochs_done):
                self._send_epoch(client, run_id, progress, number)
                self._n_sent = number + 1

    def close(self, status: str) -> None:
        """Send what is left and end the run as FINISHED, FAILED or KILLED."""
        self.send(self._progress)
        left = self._progress.epochs_done - self._n_sent
        if left:
            self._log.warning("mlflow: %d epochs were not sent; %s has them", left, self._folder / "history.csv")
        if self._run_id is not None and time.monotonic() >= self._next_try:
            with self._forgiving():
                self._connected().set_terminated(self._run_id, status)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of a network, a database or MLflow: none is worth a training
            self._next_try = time.monotonic() + _SECONDS_BETWEEN_TRIES
            if not self._warned:
                self._warned = True
                reason = (str(error).splitlines() or [""])[0][:200]
                store = _CREDENTIALS.sub("//***@", self._uri or str(self._folder / STORE_NAME))
                self._log.warning(
                    "mlflow: %s cannot be reached (%s: %s); the training goes on, and the points are sent when it is"
                    " back: check MLFLOW_TRACKING_URI, such as http://host:5000 or sqlite:////folder/mlflow.db",
                    store, type(error).__name__, reason,
                )  # fmt: skip

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            from mlflow.tracking import MlflowClient

            uri = self._uri or f"sqlite:///{(self._folder / STORE_NAME).absolute()}"
            _require_database(uri)
            with _logging_as_before():
                self._client = MlflowClient(tracking_uri=uri)
        return self._client

    def _begin(self, client: "MlflowClient", progress: Progress) -> str:
        """The run of an earlier attempt, or a new one with the parameters."""
        from mlflow.entities import Param

        path = self._folder / MLFLOW_NAME
        known = read_json(path) if path.exists() else {}
        if known.get("tracking_uri") == self._uri and _exists(client, known.get("run_id")):
            run_id = str(known["run_id"])
            client.update_run(run_id, status="RUNNING")
            steps = [metric.step for metric in client.get_metric_history(run_id, _PROBE)]
            self._n_sent = min(max(steps, default=0), progress.epochs_done)
            return run_id
        run = client.create_run(_experiment_id(client), run_name=self._folder.absolute().parent.name)
        run_id = str(run.info.run_id)
        parameters = [Param(name, value) for name, value in flat(self._config).items()]
        for part in _chunks(parameters, _PARAMETERS_AT_ONCE):
            client.log_batch(run_id, params=part)
        write_json(path, {"tracking_uri": self._uri, "run_id": run_id})
        return run_id

    def _send_epoch(self, client: "MlflowClient", run_id: str, progress: Progress, number: int) -> None:
        from mlflow.entities import Metric

        row, now = progress.history[number], int(1000 * time.time())
        values: dict[str, float | None] = {f"regularizer/{name}": term for name, term in progress.terms[number].items()}
        # The probe comes last: an epoch whose sending was cut is sent again.
        values |= {f"training/{name}": value for name, value in asdict(row).items() if name not in ("epoch", "loss")}
        values[_PROBE] = row.loss
        metrics = [Metric(name, value, now, row.epoch) for name, value in values.items() if value is not None]
        for part in _chunks(metrics, _METRICS_AT_ONCE):
            client.log_batch(run_id, metrics=part)


@contextlib.contextmanager
def open_mlflow(
    folder: Path, progress: Progress, config: Mapping[str, Any] | None, log: logging.Logger
) -> Iterator[MlflowLog]:
    """Track a training for the length of a block; a resumed one goes on in the run of its earlier attempt.

    The store is MLFLOW_TRACKING_URI; without it, the one of the earlier attempt, or an SQLite file in `folder`. The
    experiment is MLFLOW_EXPERIMENT_NAME, "wcr-med" without it; the run is named after the run folder.

    Args:
        folder: of the training; `mlflow.json` there names the run.
        progress: what a resumed training has behind it.
        config: its leaves become the run's parameters, e.g. "training.epochs".
        log: takes warnings.

    Raises:
        UserError: the package is missing.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _require_package()
    path = folder / MLFLOW_NAME
    known = read_json(path) if path.exists() else {}
    uri = os.environ.get("MLFLOW_TRACKING_URI") or known.get("tracking_uri")
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    tracker = MlflowLog(folder, uri, config or {}, log)
    tracker.send(progress)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)


def _require_package() -> None:
    """Refuse a missing package; whatever else its import raises is for the first call to warn of.

    Raises:
        UserError: MLflow, or a package that it needs, is not installed.
    """
    try:
        import mlflow.tracking  # noqa: F401 - for its absence
    except ModuleNotFoundError as error:
        raise UserError(
            f"training.track names mlflow, and the package {error.name} is missing: pip install 'wcr-med[mlflow]', or"
            " take it out of training.track"
        ) from None
    except Exception:  # noqa: BLE001 - such as a user without a home folder
        return


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """The leaves of a nested mapping by dotted names, as text; what is no text is written as JSON."""
    texts = (
        (name, value if isinstance(value, str) else json.dumps(value, default=str))
        for name, value in flatten(config).items()
    )
    return {name: text[:_LONGEST_VALUE] for name, text in texts}


def _exists(client: "MlflowClient", run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return False
    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _experiment_id(client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another training was faster
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    """Undo what MLflow's older releases make of the root logger while they create a database."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _require_database(uri: str) -> None:
    """Open a database once before MLflow does, which tries one that cannot be opened for minutes."""
    name = uri.split(":", 1)[0].split("+", 1)[0]
    if name not in _DATABASES:
        return
    import sqlalchemy

    if name == "sqlite" and (file := sqlalchemy.make_url(uri).database):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    waiting = {"connect_timeout": _CONNECT_SECONDS} if name in ("postgresql", "mysql") else {}
    engine = sqlalchemy.create_engine(uri, connect_args=waiting)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
