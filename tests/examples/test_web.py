"""examples/web: the page, used as a person does, in headless Chromium; everything comes from this machine."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.examples.conftest import Array
from tests.examples.ways import Network, Page, by_command, by_page, nifti_mask, read_mask
from wcr_med.volumes import Volume

pytestmark = pytest.mark.slow  # fetches some 100 MB


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_slices(
    page: Page,
    network: Network,
    patient: Path,
    png_patient: Path,
    volume: Volume,
    expected_SHW: Array,
    suffix: str,
    tmp_path: Path,
) -> None:
    result = by_page(page, network, patient if suffix == ".tif" else png_patient, tmp_path / "page")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no request failed, none went elsewhere
    assert result.stdout == f"Done: {expected_SHW.sum()} voxels of lesion in {len(volume.names)} slices.\n"
    np.testing.assert_array_equal(read_mask(tmp_path / "page", volume), expected_SHW)

    assert by_command(network, patient, tmp_path / "command", "--format", "nifti").returncode == 0
    found, expected = (nib.load(nifti_mask(tmp_path / way) or "") for way in ("page", "command"))
    np.testing.assert_array_equal(found.affine, expected.affine)
    np.testing.assert_array_equal(found.dataobj, expected.dataobj)


def test_it_says_what_is_wrong(page: Page, network: Network, scans: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.new("L", (16, 16)).save(source / "grey.tif")
    result = by_page(page, network, source, tmp_path / "out")
    assert result.stdout == "Error: grey.tif: not an 8-bit RGB image\n", result.stderr
    result = by_page(page, network, scans["turned"].parent, tmp_path / "out")
    assert result.stdout == "Error: give one NIfTI file alone, with all channels, or slices\n", result.stderr
    assert not list((tmp_path / "out").glob("*mask*"))
