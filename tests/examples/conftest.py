"""One phantom patient, a standalone file, and the mask that the examples have to find."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.exported import export_small, small_network, small_volume
from wcr_med.export import standalone_of
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume
from wcr_med.volumes.kaggle import read_kaggle_patient

Array = npt.NDArray[Any]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def patient(phantom_root: Path) -> Path:
    """A folder of TIFF slices and reference masks, more than nine."""
    return next(folder for folder in sorted(phantom_root.iterdir()) if len(list(folder.glob("*_mask.tif"))) > 9)


@pytest.fixture(scope="session")
def volume(patient: Path) -> Volume:
    return read_kaggle_patient(patient, with_mask=False)


@pytest.fixture(scope="session")
def png_patient(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same slices as PNG."""
    folder = tmp_path_factory.mktemp("png")
    for name, image_HWC in zip(volume.names, volume.image_SHWC, strict=True):
        Image.fromarray(image_HWC).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("model") / "small.onnx", small_network()).path


@pytest.fixture(scope="session")
def standalone(portable: Path) -> Path:
    target = portable.with_suffix(".standalone.onnx")
    standalone_of(portable, target, volumes=[small_volume(seed=1)], threads=1)
    return target


@pytest.fixture(scope="session")
def expected_SHW(portable: Path, volume: Volume) -> Array:  # noqa: N802
    """What this package finds: uint8, 0 and 1."""
    mask_SHW = Segmenter.from_file(portable, threads=1).mask(volume.image_SHWC)
    assert 0.02 < mask_SHW.mean() < 0.98
    return mask_SHW


def read_masks(folder: Path, names: tuple[str, ...], suffix: str) -> Array:
    """Masks of 0 and 255 that an example wrote, one a slice."""
    return np.stack([np.asarray(Image.open(folder / f"{name}_mask{suffix}")) for name in names])
