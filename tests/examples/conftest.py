"""One phantom patient as slices and as NIfTI, a network in both forms, and the mask that every way has to find."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest
from PIL import Image

from tests.examples.scans import write_scans
from tests.examples.ways import (
    Done,
    Network,
    Page,
    build_program,
    by_command,
    by_page,
    by_program,
    by_python,
    serve_page,
)
from tests.exported import export_small, small_network, small_volume
from wcr_med.export import standalone_of
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume
from wcr_med.volumes.kaggle import read_kaggle_patient

Array = npt.NDArray[Any]
Way = Callable[[Network, Path, Path], Done]


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
def scans(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same voxels as NIfTI."""
    return write_scans(tmp_path_factory.mktemp("nifti"), volume)


@pytest.fixture(scope="session")
def sources(patient: Path, scans: dict[str, Path]) -> dict[str, Path]:
    """Every form of the patient, by name."""
    return {"slices": patient, **scans}


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    portable = export_small(tmp_path_factory.mktemp("model") / "small.onnx", small_network()).path
    standalone = portable.with_suffix(".standalone.onnx")
    standalone_of(portable, standalone, volumes=[small_volume(seed=1)], threads=1)
    return Network(portable=portable, standalone=standalone)


@pytest.fixture(scope="session")
def expected_SHW(network: Network, volume: Volume) -> Array:  # noqa: N802
    """What this package finds: uint8, 0 and 1."""
    mask_SHW = Segmenter.from_file(network.portable, threads=1).mask(volume.image_SHWC)
    assert 0.02 < mask_SHW.mean() < 0.98
    return mask_SHW


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program(tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve_page(tmp_path_factory.mktemp("web")) as served:
        yield served


@pytest.fixture(params=["command", "python", "program", pytest.param("page", marks=pytest.mark.slow)])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way but this process itself; the page fetches some 100 MB."""
    if request.param in ("program", "page"):
        way_of = {"program": by_program, "page": by_page}[request.param]
        return partial(way_of, request.getfixturevalue(request.param))
    return {"command": by_command, "python": by_python}[request.param]
