"""examples/python: ONNX Runtime, numpy and Pillow alone, nibabel for NIfTI."""

import ast
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.examples.conftest import Array
from tests.examples.ways import EXAMPLES, Network, by_python, run
from wcr_med.volumes import Volume

FOLDER = EXAMPLES / "python"


@pytest.mark.parametrize(
    ("name", "needs"), [("segment.py", {"numpy", "onnxruntime", "PIL", "nifti"}), ("nifti.py", {"numpy", "nibabel"})]
)
def test_it_needs_nothing_else(name: str, needs: set[str]) -> None:
    nodes = list(ast.walk(ast.parse((FOLDER / name).read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module).partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == needs


def test_slices_have_masks_of_their_names(
    network: Network, patient: Path, volume: Volume, expected_SHW: Array, tmp_path: Path
) -> None:
    result = by_python(network, patient, tmp_path / "masks")
    assert f"{expected_SHW.sum()} voxels" in result.stdout
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {f"{name}_mask.tif" for name in volume.names}


@pytest.mark.parametrize("kind", ["16-bit", "grey", "RGBA", "nothing", "text"])
def test_other_images_are_refused(network: Network, kind: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    if kind == "16-bit":
        cv2.imwrite(str(source / "a_1.png"), np.zeros((8, 8, 3), np.uint16))
        assert Image.open(source / "a_1.png").mode == "RGB"  # Pillow sees no difference
    elif kind == "text":
        source = tmp_path / "a.txt"
        source.write_text("hello")
    elif kind != "nothing":
        Image.new({"grey": "L", "RGBA": "RGBA"}[kind], (8, 8)).save(source / "a_1.png")
    result = by_python(network, source, out)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(out.glob("*"))


def test_a_damaged_file_is_refused(network: Network, patient: Path, tmp_path: Path) -> None:
    content = bytearray(network.standalone.read_bytes())
    content[len(content) // 2] ^= 1
    bad = tmp_path / "bad.standalone.onnx"
    bad.write_bytes(content)
    done = run(sys.executable, EXAMPLES / "python" / "segment.py", bad, patient, tmp_path / "out")
    assert done.returncode == 1
    assert "bad.standalone.onnx: not as its checksum says" in done.stderr
    assert not (tmp_path / "out").exists()
