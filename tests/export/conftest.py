import pytest
from torch import nn

from tests.exported import export_small, small_network
from wcr_med.export import ExportResult


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return small_network()


@pytest.fixture(scope="session")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export_small(tmp_path_factory.mktemp("export") / "small.onnx", network)
