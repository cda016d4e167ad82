"""A made-up run and its hard cases, shared by the tests of the report."""

import dataclasses
from pathlib import Path

import pytest

from tests.report.clinical.run_made_up import copy_root, make_inputs, make_root
from wcr_med.config import CardConfig
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.write import write_report


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


@pytest.fixture(scope="session")
def bare(made_up_root: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Without data.csv, export, robustness, other sparsities, leaky split, command and notes."""
    folder = tmp_path_factory.mktemp("bare")
    root = copy_root(made_up_root, folder)
    (root / "data.csv").unlink()
    inputs = make_inputs(root, folder / "predictions", n_test=6)
    networks = tuple(dataclasses.replace(network, deployment=()) for network in inputs.networks)
    return dataclasses.replace(
        inputs, networks=networks, command=None, ladder=(), robustness=None, leak=None, notes=(), card=CardConfig()
    )


@pytest.fixture(scope="session")
def written(made_up: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the made-up run's report. Read it, never change it."""
    folder = tmp_path_factory.mktemp("written") / "report"
    write_report(made_up, folder)
    return folder


@pytest.fixture(scope="session")
def pages(
    written: Path,
    one_patient: ReportInputs,
    all_empty: ReportInputs,
    bare: ReportInputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The page of the made-up run and of each hard case, by name."""
    found = {"made_up": written / "report.html"}
    for name, inputs in (("one_patient", one_patient), ("all_empty", all_empty), ("bare", bare)):
        found[name] = write_report(inputs, tmp_path_factory.mktemp(name) / "report")
    return found
