"""examples/python: ONNX Runtime, numpy and Pillow alone."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.examples.conftest import EXAMPLES, read_masks
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume
from wcr_med.volumes.nifti import read_nifti, write_nifti

Array = npt.NDArray[Any]

SCRIPT = EXAMPLES / "python" / "segment.py"


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_it_needs_nothing_else() -> None:
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL", "nibabel"}


def test_slices(standalone: Path, patient: Path, volume: Volume, expected_SHW: Array, tmp_path: Path) -> None:
    result = run(standalone, patient, tmp_path / "masks")
    assert result.returncode == 0, result.stderr
    assert f"{expected_SHW.sum()} voxels" in result.stdout
    found_SHW = read_masks(tmp_path / "masks", volume.names, ".tif")
    np.testing.assert_array_equal(found_SHW, 255 * expected_SHW)
    assert len(list((tmp_path / "masks").iterdir())) == len(volume.names)


def test_nifti(standalone: Path, portable: Path, volume: Volume, tmp_path: Path) -> None:
    # Rows run from back to front and slices from head to foot in this file.
    voxels = np.ascontiguousarray(volume.image_SHWC.transpose(2, 1, 0, 3)[:, ::-1, ::-1])
    affine_44 = np.diag([-1.0, 1.0, -3.0, 1.0])
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine_44), path)
    result = run(standalone, path, tmp_path / "out")
    assert result.returncode == 0, result.stderr

    read = read_nifti([path], None, patient_id="scan")
    write_nifti(read, Segmenter.from_file(portable, threads=1).mask(read.image_SHWC), tmp_path / "expected.nii.gz")
    found, expected = (nib.load(tmp_path / name) for name in ("out/mask.nii.gz", "expected.nii.gz"))
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert np.asarray(found.dataobj).any()


@pytest.mark.parametrize("kind", ["16-bit", "grey", "RGBA", "nothing", "float NIfTI"])
def test_other_images_are_refused(standalone: Path, kind: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    if kind == "16-bit":
        cv2.imwrite(str(source / "a_1.png"), np.zeros((8, 8, 3), np.uint16))
        assert Image.open(source / "a_1.png").mode == "RGB"  # Pillow sees no difference
    elif kind == "float NIfTI":
        source = tmp_path / "a.nii"
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), source)
    elif kind != "nothing":
        Image.new({"grey": "L", "RGBA": "RGBA"}[kind], (8, 8)).save(source / "a_1.png")
    result = run(standalone, source, out)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(out.glob("*"))
