"""Robustness of a run, with networks that were never trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.exported import small_artefact, small_network
from tests.small import small_config
from wcr_med.artefacts import save_model
from wcr_med.config import DataConfig
from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError
from wcr_med.evaluation import evaluate_patients
from wcr_med.evaluation import robustness as measuring
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.networks import open_model, open_predictor
from wcr_med.stages.robustness import (
    choose_patients,
    flair_channel,
    load_robustness,
    network_names,
    robustness_path,
    robustness_stage,
    wanted_disturbances,
)
from wcr_med.stages.workspace import Workspace

Make = Callable[..., Workspace]


@pytest.fixture
def make(phantom_root: Path, run_cache: Path, tmp_path: Path) -> Make:
    """A run folder with networks of three sparsities."""

    def made(*, pruning: dict[str, Any] | None = None, **report: Any) -> Workspace:
        config = small_config(phantom_root, run_cache)
        config = config.model_copy(
            update={
                "pruning": config.pruning.model_copy(update=pruning or {}),
                "report": config.report.model_copy(update={"robustness": ("noise", "missing_channel"), **report}),
            }
        )
        workspace = Workspace(out=tmp_path / "run", config=config)
        split = open_patients(workspace).split
        for name, sparsity in (("dense", 0.0), ("pruned-80", 0.8), ("pruned-90", 0.9)):
            artefact = small_artefact(
                preprocess=workspace.settings.to_dict(),
                split_hash=split.hash,
                trained_on=split.train,
                validated_on=split.validation,
                threshold=0.4 if sparsity else 0.5,
            )
            save_model(workspace.model_path(name), small_network(sparsity=sparsity), artefact)
        return workspace

    return made


def test_every_network_of_the_run_is_measured(make: Make) -> None:
    workspace = make(pruning={"also": (0.8,)})
    line = robustness_stage(workspace)
    assert "dense loses at most" in line
    result = load_robustness(workspace.out / "robustness.json")
    assert list(dict.fromkeys(point.network for point in result.points)) == ["dense", "pruned-80", "pruned-90"]
    assert list(result.units) == ["noise", "missing_channel"]
    patients = open_patients(workspace)
    assert all(set(point.dice) == set(patients.split.test) for point in result.points)
    for name in network_names(workspace):
        model, artefact = open_model(workspace, name)
        alone = evaluate_patients(
            open_predictor(workspace, model),
            patients.of(patients.split.test),
            threshold=artefact.threshold or 0,
            config=workspace.config.evaluation,
            distances=False,
        )
        (point,) = [point for point in result.points if (point.network, point.disturbance) == (name, "none")]
        assert point.dice == pytest.approx({row.patient_id: row.dice for row in alone.rows}, nan_ok=True)
    assert not (workspace.out / ".robustness").exists()


def test_it_is_done_once_and_goes_on_where_it_stopped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make()
    measured: list[str] = []
    measure = measuring._measure

    def watching(predictors: Any, entry: PatientEntry, **arguments: Any) -> Any:
        if len(measured) == 2:
            measured.append("stop")
            raise KeyboardInterrupt
        measured.append(entry.patient_id)
        return measure(predictors, entry, **arguments)

    monkeypatch.setattr(measuring, "_measure", watching)
    with pytest.raises(KeyboardInterrupt):
        robustness_stage(workspace)
    assert not robustness_path(workspace).exists()
    robustness_stage(workspace)
    test = [entry.patient_id for entry in open_patients(workspace).of(open_patients(workspace).split.test)]
    assert measured == [*test[:2], "stop", test[2]]
    robustness_stage(workspace)
    assert len(measured) == 4


def test_a_network_that_saw_a_test_patient_is_refused(make: Make) -> None:
    workspace = make()
    split = open_patients(workspace).split
    model, artefact = open_model(workspace, "pruned-90")
    seen = small_artefact(preprocess=artefact.preprocess, trained_on=split.test[:1], validated_on=())
    save_model(workspace.model_path("pruned-90"), model, seen)
    with pytest.raises(UserError, match=split.test[0]):
        robustness_stage(workspace)
    assert not robustness_path(workspace).exists()


def test_a_network_that_is_not_there_is_named(make: Make) -> None:
    workspace = make(pruning={"also": (0.5,)})
    with pytest.raises(UserError, match=r"pruned-50.*no such network"):
        robustness_stage(workspace)


def test_without_disturbances_nothing_is_done(make: Make) -> None:
    workspace = make(robustness=())
    assert "nothing to measure" in robustness_stage(workspace)
    assert not robustness_path(workspace).exists()


def test_fewer_patients_are_measured_on_request(make: Make) -> None:
    workspace = make(robustness=("blur",), robustness_patients=1)
    robustness_stage(workspace)
    result = load_robustness(robustness_path(workspace))
    assert len({name for point in result.points for name in point.dice}) == 1


def entries(**institutions: int) -> list[PatientEntry]:
    return [
        PatientEntry(f"{name}-{number:02d}", name, (), "kaggle_3m", Path())
        for name, n in institutions.items()
        for number in range(n)
    ]


def test_the_choice_of_patients_is_spread_over_institutions() -> None:
    there = entries(CS=10, DU=3, HT=1)
    assert choose_patients(there, 0, seed=0) == choose_patients(there, 99, seed=0) == tuple(there)
    chosen = choose_patients(there, 7, seed=0)
    counts = {name: sum(entry.institution == name for entry in chosen) for name in ("CS", "DU", "HT")}
    assert counts == {"CS": 3, "DU": 3, "HT": 1}
    assert list(chosen) == [entry for entry in there if entry in chosen]
    assert set(choose_patients(there[::-1], 7, seed=0)) == set(chosen)
    assert len({choose_patients(there, 3, seed=seed) for seed in range(5)}) > 1


def test_flair_is_found_by_its_name(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    config = make().config
    assert flair_channel(config) == 1

    def nifti(*channels: str) -> Any:
        data = DataConfig.model_validate({"root": config.data.root, "format": "nifti", "nifti": {"channels": channels}})
        model = config.model.model_copy(update={"in_channels": max(2, len(channels))})
        return config.model_copy(update={"data": data, "model": model})

    assert flair_channel(nifti("*_T1.nii.gz", "*_T2.nii.gz", "*_FLAIR.nii.gz")) == 2
    assert wanted_disturbances(nifti("*_flair.nii.gz", "*_t1.nii.gz")) == ["noise", "missing_channel"]
    for unknown in (("*_all.nii.gz",), ("*_flair.nii.gz",), ("*_t1.nii.gz", "*_t2.nii.gz")):
        assert flair_channel(nifti(*unknown)) is None
        assert wanted_disturbances(nifti(*unknown)) == ["noise"]
    assert "missing_channel is left out" in caplog.text


def test_another_schema_is_refused(make: Make) -> None:
    path = robustness_path(make())
    path.write_text(json.dumps({"schema_version": 7}))
    with pytest.raises(UserError, match=r"robustness\.json: schema version 7"):
        load_robustness(path)
