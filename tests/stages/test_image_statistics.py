"""Names of the channels and statistics of the training images, as the files of a network carry them."""

import logging

import pytest

from tests.exported import small_artefact
from tests.plausibility.heads import write_heads
from wcr_med.config import parse_config
from wcr_med.plausibility import ImageStatistics
from wcr_med.stages import image_statistics
from wcr_med.stages.image_statistics import described
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.workspace import Workspace

N_PATIENTS = 14


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Patients]:
    root = tmp_path_factory.mktemp("data") / "kaggle_3m"
    write_heads(root, N_PATIENTS)
    document = {
        "data": {"root": str(root)},
        "split": {"validation_patients": 1, "test_patients": 1},
        "training": {"epochs": 1},
        "preprocess": {"height": 32, "width": 32},
    }
    config = parse_config(document, source="test")
    workspace = Workspace(out=tmp_path_factory.mktemp("run") / "out", config=config)
    return workspace, open_patients(workspace)


def test_training_images_are_described(run: tuple[Workspace, Patients]) -> None:
    artefact = described(*run, small_artefact())
    assert artefact.channels == ("pre-contrast", "FLAIR", "post-contrast")
    assert artefact.image_statistics is not None
    statistics = ImageStatistics.from_dict(artefact.image_statistics, source="x")
    assert statistics.n_images == N_PATIENTS - 2
    assert statistics.usable
    assert statistics.below_zero == (0.0, 0.0, 0.0)
    assert not any(patient in str(artefact.image_statistics) for patient in run[1].split.train)


def test_what_a_network_carries_stays(run: tuple[Workspace, Patients]) -> None:
    before = small_artefact(channels=("T1", "FLAIR", "T1c"), image_statistics={"n_images": 1})
    assert described(*run, before) == before


def test_many_patients_are_spread_and_odd_images_named(
    run: tuple[Workspace, Patients], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(image_statistics, "MOST_PATIENTS", 5)
    monkeypatch.setattr(image_statistics, "doubts", lambda *_: ("odd",))
    with caplog.at_level(logging.WARNING):
        artefact = described(*run, small_artefact())
    assert artefact.image_statistics is not None
    assert 3 <= artefact.image_statistics["n_images"] <= 5
    assert caplog.text.count(": odd") == artefact.image_statistics["n_images"]


def test_no_training_patient_no_statistics(run: tuple[Workspace, Patients]) -> None:
    workspace, patients = run
    nobody = Patients(entries=(), split=patients.split, data_hash=patients.data_hash)
    assert described(workspace, nobody, small_artefact()).image_statistics is None
