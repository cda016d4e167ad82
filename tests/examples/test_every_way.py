"""The same patient from slices and from NIfTI through every way: the same mask to the last voxel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.examples.conftest import Array, Way
from tests.examples.scans import SCANS, require_grid, write_scans
from tests.examples.ways import Network, nifti_mask, read_mask, read_patient
from tests.exported import export_small, small_network
from wcr_med.export import standalone_of
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume

MODELS = Path(__file__).resolve().parents[2] / "models"
SHIPPED = [path for path in sorted(MODELS.glob("*.onnx")) if not path.name.endswith(".standalone.onnx")]
SOURCES = ["slices", *SCANS]


def require_same(way: Way, network: Network, source: Path, expected_SHW: Array, out: Path) -> None:
    """Assert that a way finds this mask, in the form and the place of the source."""
    result = way(network, source, out)
    assert result.returncode == 0, result.stderr
    volume = read_patient(source)
    np.testing.assert_array_equal(read_mask(out, volume), expected_SHW)
    written = nifti_mask(out)
    if source.is_file():
        assert written is not None
        assert written.name == f"{source.name.partition('.')[0]}_mask.nii.gz"
        require_grid(written, source)


@pytest.mark.parametrize("source", SOURCES)
def test_same_mask(
    way: Way, source: str, network: Network, sources: dict[str, Path], expected_SHW: Array, tmp_path: Path
) -> None:
    require_same(way, network, sources[source], expected_SHW, tmp_path / "out")


@pytest.mark.parametrize("source", SCANS)
def test_this_package_reads_the_same(scans: dict[str, Path], volume: Volume, source: str) -> None:
    np.testing.assert_array_equal(read_patient(scans[source]).image_SHWC, volume.image_SHWC)
    assert nib.aff2axcodes(nib.load(scans[source]).affine) == tuple(SCANS[source][1])


@pytest.fixture(scope="module", params=SHIPPED or [None], ids=lambda path: path.stem if path else "made here")
def real_network(request: pytest.FixtureRequest, lgg_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network of models/ where one is there; its standalone form is made from that file alone."""
    folder = tmp_path_factory.mktemp("real")
    portable: Path = request.param or export_small(folder / "small.onnx", small_network()).path
    standalone = folder / f"{portable.stem}.standalone.onnx"
    standalone_of(portable, standalone, volumes=[read_patient(min(lgg_root.glob("TCGA_*")))])
    return Network(portable=portable, standalone=standalone)


@pytest.fixture(scope="module")
def real(
    real_network: Network, lgg_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], Array]:
    """The first patient in whom `Segmenter` finds lesion, as slices and as NIfTI; and that mask."""
    with Segmenter.from_file(real_network.portable) as segment:
        for patient in sorted(lgg_root.glob("TCGA_*")):
            volume = read_patient(patient)
            mask_SHW = segment(volume.image_SHWC).mask
            if mask_SHW.any():
                return {"slices": patient, **write_scans(tmp_path_factory.mktemp("scans"), volume)}, mask_SHW
    pytest.skip("no patient in whom the network finds lesion")


@pytest.mark.slow
@pytest.mark.lgg
@pytest.mark.parametrize("source", SOURCES)
def test_real_patient(
    way: Way, source: str, real_network: Network, real: tuple[dict[str, Path], Array], tmp_path: Path
) -> None:
    sources, expected_SHW = real
    found_SHW = Segmenter.from_file(real_network.portable).mask(read_patient(sources[source]).image_SHWC)
    np.testing.assert_array_equal(found_SHW, expected_SHW)
    require_same(way, real_network, sources[source], expected_SHW, tmp_path / "out")
