from pathlib import Path

import pytest
from torch import nn

from tests.exported import export_small, small_artefact, small_volume, tiny_network
from wcr_med.channel_names import KAGGLE_CHANNELS
from wcr_med.config import ExportConfig, ModelConfig
from wcr_med.export import export_model


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return tiny_network()


@pytest.fixture(scope="session")
def model_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of three channels, stored sparse, that names its NIfTI files."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return export_small(path, network, storage="gap8", channel_files=["*_a.nii.gz", "*_b.nii.gz", "*_c.nii.gz"]).path


@pytest.fixture(scope="session")
def named_model_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, of images in kaggle_3m layout: it names its channels and no files."""
    path = tmp_path_factory.mktemp("named") / "named.onnx"
    return export_small(path, network, small_artefact(channels=KAGGLE_CHANNELS)).path


@pytest.fixture(scope="session")
def flair_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one channel, FLAIR, whose files are named."""
    model_config = ModelConfig(features=2, in_channels=1).model_dump(mode="json")
    artefact = small_artefact(model_config=model_config, channels=("flair",))
    path = tmp_path_factory.mktemp("flair") / "flair.onnx"
    volumes = [small_volume(seed=1, channels=1), small_volume(seed=2, channels=1)]
    config = ExportConfig(parity_slices=8, dice_tolerance=0.01)
    patterns = ["*_flair.nii.gz"]
    return export_model(
        tiny_network(1), artefact, config, parity_volumes=volumes, out_path=path, channel_files=patterns
    ).path
