"""Every way that axes can run, a little oblique and sheared: the examples read what this package reads."""

import importlib.util
import itertools
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.examples.scans import require_grid, scan
from tests.examples.ways import EXAMPLES, Network, by_program, nifti_mask, read_mask, read_patient, run
from wcr_med.runtime import Segmenter

AXES = ["".join(axes) for order in itertools.permutations(("RL", "AP", "SI")) for axes in itertools.product(*order)]


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """48 small scans, half placed by sform and half by qform, every third big-endian."""
    folder, rng = tmp_path_factory.mktemp("turned"), np.random.default_rng(0)
    image_SHWC = rng.integers(0, 256, (5, 18, 23, 3), dtype=np.uint8)
    for number, axes in enumerate(AXES):
        image = scan(image_SHWC, axes, rng.uniform(-24, 24), ("sform", "qform")[number % 2])
        if number % 2 == 0:
            image.set_sform(image.affine + np.pad(rng.uniform(-0.05, 0.05, (3, 3)), (0, 1)), code=1)
        if number % 3 == 0:
            image = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header.as_byteswapped(">"))
        image.to_filename(folder / f"{axes}.nii")
    return sorted(folder.iterdir())


def test_the_scans_are_what_they_should_be(turned: list[Path]) -> None:
    headers = [nib.load(path).header for path in turned]
    assert sum(header.endianness == ">" for header in headers) == 16
    assert sum(int(header["sform_code"]) == 0 for header in headers) == 24
    assert ["".join(nib.aff2axcodes(nib.load(path).affine)) for path in turned] == [path.stem for path in turned]


def test_python(turned: list[Path], tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("nifti", EXAMPLES / "python" / "nifti.py")
    assert spec is not None
    assert spec.loader is not None
    nifti = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nifti)
    for path in turned:
        image_SHWC, header = nifti.read(path, 3)
        volume = read_patient(path)
        np.testing.assert_array_equal(image_SHWC, volume.image_SHWC)
        mask_SHW = (image_SHWC[..., 0] > 127).astype(np.uint8)
        out = tmp_path / path.stem
        out.mkdir()
        nifti.write(out / "mask.nii.gz", mask_SHW, header)
        np.testing.assert_array_equal(read_mask(out, volume), mask_SHW)
        require_grid(out / "mask.nii.gz", path)


def test_program(program: Path, network: Network, turned: list[Path], tmp_path: Path) -> None:
    with Segmenter.from_file(network.portable, threads=1) as segment:
        for path in turned:
            result = by_program(program, network, path, tmp_path / path.stem)
            assert result.returncode == 0, result.stderr
            volume, written = read_patient(path), nifti_mask(tmp_path / path.stem)
            np.testing.assert_array_equal(read_mask(tmp_path / path.stem, volume), segment.mask(volume.image_SHWC))
            assert written is not None
            require_grid(written, path)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_page(turned: list[Path], tmp_path: Path) -> None:
    module, script = EXAMPLES / "web" / "nifti.js", Path(__file__).with_name("read.mjs")
    result = run("node", script, module, tmp_path, *turned)
    assert result.returncode == 0, result.stderr
    for path in turned:
        image_SHWC = read_patient(path).image_SHWC
        found = np.fromfile(tmp_path / f"{path.stem}.raw", dtype=np.uint8)
        np.testing.assert_array_equal(found.reshape(image_SHWC.shape), image_SHWC)
        written = tmp_path / f"{path.stem}_mask.nii.gz"
        np.testing.assert_array_equal(read_patient(written).image_SHWC[..., 0], image_SHWC[..., 0] > 127)
        require_grid(written, path)
