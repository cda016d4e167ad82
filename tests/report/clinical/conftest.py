"""A made-up run and its hard cases, shared by the tests of the report."""

from pathlib import Path

import pytest

from tests.report.clinical.run_made_up import make_inputs, make_root
from wcr_med.report.clinical.inputs import ReportInputs


@pytest.fixture(scope="session")
def made_up_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the made-up run. Read them, never change them."""
    return make_root(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="session")
def made_up(made_up_root: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """14 test patients, three networks, everything measured. Vary it with `dataclasses.replace`."""
    return make_inputs(made_up_root, tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="session")
def one_patient(made_up_root: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """A single test patient, without a tumour and with a false alarm of the pruned networks."""
    return make_inputs(made_up_root, tmp_path_factory.mktemp("predictions"), n_test=1)


@pytest.fixture(scope="session")
def all_empty(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Nothing to find in any patient, and nothing found."""
    folder = tmp_path_factory.mktemp("empty")
    return make_inputs(make_root(folder, blank=True), folder / "predictions", silent=True)
