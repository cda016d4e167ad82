"""MLflow: one run however often a training is interrupted, and a store that is away stops nothing."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from mlflow.tracking import MlflowClient

from wcr_med.errors import Stopped, UserError
from wcr_med.training import tracking
from wcr_med.training.logs import TENSORBOARD_NAME, open_run_log
from wcr_med.training.progress import EpochRow, Progress
from wcr_med.training.tracking import flat, open_mlflow

_LOG = logging.getLogger("test.tracking")
_CONFIG = {"seed": 1, "training": {"epochs": 3, "track": ["mlflow"], "device": "auto"}, "data": {"cache": None}}


@pytest.fixture(autouse=True)
def _no_store_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in tracking._ENVIRONMENT:
        monkeypatch.setenv(name, tracking._ENVIRONMENT[name])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lgg" / "train"


def _progress(n_epochs: int) -> Progress:
    progress = Progress()
    for epoch in range(1, n_epochs + 1):
        _note(progress, epoch)
    return progress


def _note(progress: Progress, epoch: int) -> None:
    dice = None if epoch == 1 else epoch / 10
    row = EpochRow(
        epoch=epoch, loss=1 / epoch, regularizer=None, learning_rate=0.1, weight_norm=3.0, dice_patient=dice,
        f1_pooled=dice, images_per_second=50.0, seconds=90.0,
    )  # fmt: skip
    progress.note(row, {"head.weight": 2.0 * epoch}, validated=dice is not None)


def _client(folder: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return client, json.loads((folder / "mlflow.json").read_text())["run_id"]


def _points(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def test_a_training_is_one_run_with_parameters_and_points(folder: Path) -> None:
    progress = Progress()
    with open_run_log(folder, progress, n_epochs=3, n_steps=1, log=_LOG, track=("mlflow",), config=_CONFIG) as run_log:
        _note(progress, 1)
        run_log.epoch(progress)
    assert not (folder / TENSORBOARD_NAME).exists()
    client, run_id = _client(folder)
    run = client.get_run(run_id)
    assert run.info.run_name == "lgg"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "seed": "1", "training.epochs": "3", "training.track": '["mlflow"]', "training.device": "auto",
        "data.cache": "null",
    }  # fmt: skip
    assert "training/dice_patient" not in run.data.metrics

    progress = _progress(1)  # the same command again
    with open_run_log(folder, progress, n_epochs=3, n_steps=1, log=_LOG, track=("mlflow",), config=_CONFIG) as run_log:
        assert client.get_run(run_id).info.status == "RUNNING"
        for epoch in (2, 3):
            _note(progress, epoch)
            run_log.epoch(progress)
    client, again = _client(folder)
    assert again == run_id
    assert _points(client, run_id, "training/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert _points(client, run_id, "training/dice_patient") == [(2, 0.2), (3, 0.3)]
    assert _points(client, run_id, "regularizer/head.weight") == [(1, 2.0), (2, 4.0), (3, 6.0)]


def test_what_a_kill_kept_from_the_store_is_sent_by_the_next_attempt(folder: Path) -> None:
    with pytest.raises(Stopped), open_mlflow(folder, _progress(1), _CONFIG, _LOG):
        raise Stopped("by a signal")
    client, run_id = _client(folder)
    assert client.get_run(run_id).info.status == "KILLED"
    with open_mlflow(folder, _progress(3), _CONFIG, _LOG):
        pass
    assert [step for step, _ in _points(client, run_id, "training/loss")] == [1, 2, 3]
    with pytest.raises(UserError), open_mlflow(folder, _progress(3), _CONFIG, _LOG):
        raise UserError("the loss is nan")
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_store_that_was_deleted_gets_a_new_run_with_all_epochs(folder: Path, tmp_path: Path) -> None:
    with open_mlflow(folder, _progress(1), _CONFIG, _LOG):
        pass
    _, first = _client(folder)
    for number in range(2):  # of another folder each, since MLflow keeps what it knows of a path
        other = tmp_path / f"moved{number}" / "train"
        other.mkdir(parents=True)
        (other / "mlflow.json").write_text((folder / "mlflow.json").read_text())
        with open_mlflow(other, _progress(2), _CONFIG, _LOG):
            pass
        client, run_id = _client(other)
        assert run_id != first
        assert [step for step, _ in _points(client, run_id, "training/loss")] == [1, 2]


def test_a_server_that_is_away_warns_once_and_gets_its_points_later(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "_SECONDS_BETWEEN_TRIES", 0.0)
    progress = _progress(1)
    with open_mlflow(folder, progress, _CONFIG, _LOG) as tracker:
        tracker.send(progress)
        warnings = [record.getMessage() for record in caplog.records if record.name == _LOG.name]
        assert len(warnings) == 1
        assert "http://127.0.0.1:9" in warnings[0]
        assert "MLFLOW_TRACKING_URI" in warnings[0]
        assert not (folder / "mlflow.json").exists()
        _note(progress, 2)
        tracker._client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'back.db'}")
        tracker.send(progress)
    run_id = json.loads((folder / "mlflow.json").read_text())["run_id"]
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'back.db'}")
    assert [step for step, _ in _points(client, run_id, "training/loss")] == [1, 2]


def test_a_server_that_never_comes_back_is_left_alone_for_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            self.calls += 1
            raise ConnectionError("no route\nto host")

    with open_mlflow(folder, Progress(), _CONFIG, _LOG) as tracker:
        tracker._client, tracker._run_id = Away(), None  # type: ignore[assignment]
        progress = _progress(2)
        for _ in range(5):
            tracker.send(progress)
        assert tracker._client.calls == 1
    warnings = [record.getMessage() for record in caplog.records if record.name == _LOG.name]
    assert len(warnings) == 2
    assert "2 epochs were not sent" in warnings[1]


@pytest.mark.parametrize("uri", ["localhost:5000", "./mlruns", "sqlite:////dev/null/mlflow.db"])
def test_an_address_that_mlflow_refuses_warns_once_and_at_once(
    uri: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(tracking, "_SECONDS_BETWEEN_TRIES", 0.0)
    progress, began = Progress(), time.monotonic()
    with open_mlflow(folder, progress, _CONFIG, _LOG) as tracker:
        _note(progress, 1)
        tracker.send(progress)
    assert time.monotonic() - began < 20  # MLflow itself tries for minutes
    if uri == "./mlruns" and (tmp_path / "mlruns").exists():
        return  # releases before 3.17 take it
    first, last = (record.getMessage() for record in caplog.records if record.name == _LOG.name)
    assert f"mlflow: {uri} cannot be reached" in first
    assert "the training goes on" in first
    assert "1 epochs were not sent" in last


def test_a_password_is_not_in_the_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://ada:secret@127.0.0.1:9/runs")
    with open_mlflow(folder, Progress(), _CONFIG, _LOG):
        pass
    assert "postgresql+psycopg://***@127.0.0.1:9/runs cannot be reached" in caplog.text
    assert "secret" not in caplog.text


def test_a_package_that_cannot_be_imported_warns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("Could not determine home directory.")

    monkeypatch.setitem(sys.modules, "mlflow.tracking", Broken())  # type: ignore[arg-type]
    with open_mlflow(folder, Progress(), _CONFIG, _LOG):
        pass
    assert "Could not determine home directory" in caplog.text


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with (
        pytest.raises(UserError, match=r"training\.track names mlflow.*pip install 'wcr-med\[mlflow\]'"),
        open_run_log(folder, Progress(), n_epochs=1, n_steps=1, log=_LOG, track=("mlflow",)),
    ):
        pass


def test_parameters_are_leaves_as_text() -> None:
    assert flat({"a": {"b": 1, "c": {"d": "x"}}, "e": [0.5, None], "f": True, "g": Path("p")}) == {
        "a.b": "1", "a.c.d": "x", "e": "[0.5, null]", "f": "true", "g": '"p"',
    }  # fmt: skip
    assert len(flat({"a": "x" * 10_000})["a"]) == 6000
