from pathlib import Path

import pytest
from torch import nn

from tests.exported import export_small, tiny_network


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return tiny_network()


@pytest.fixture(scope="session")
def model_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of three channels, stored sparse, that names its NIfTI files."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return export_small(path, network, storage="gap8", channel_files=["*_a.nii.gz", "*_b.nii.gz", "*_c.nii.gz"]).path
