"""examples/cpp: the C API of ONNX Runtime, with the library of its wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from tests.examples.conftest import EXAMPLES, read_masks
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

COMPILER = shutil.which("g++")
LIBRARIES = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
# Where there are real headers they are used: WCR_MED_ORT_INCLUDE names their folder.
HEADERS = os.environ.get("WCR_MED_ORT_INCLUDE", str(Path(__file__).parent / "ort_abi"))


def compiles(include: str) -> bool:
    """Whether the compiler finds a header."""
    command = [str(COMPILER), "-E", "-x", "c++", "-"]
    return subprocess.run(command, input=f"#include <{include}>\n", text=True, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None or not compiles("png.h"):
        pytest.skip("needs g++ and libpng-dev")
    if sys.platform != "linux" or not LIBRARIES:
        pytest.skip("ONNX Runtime's wheel holds no library to link with here")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # to link with, and its own name
        (folder / name).symlink_to(LIBRARIES[0])
    tiff = ["-ltiff"] if compiles("tiffio.h") else []
    command = [COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", str(EXAMPLES / "cpp" / "segment.cpp")]
    command += [f"-I{HEADERS}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime", "-lpng", *tiff]
    result = subprocess.run([*command, "-o", str(folder / "segment")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder / "segment"


def run(program: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_slices(
    program: Path,
    standalone: Path,
    patient: Path,
    png_patient: Path,
    volume: Volume,
    expected_SHW: Array,
    suffix: str,
    tmp_path: Path,
) -> None:
    if suffix == ".tif" and not compiles("tiffio.h"):
        pytest.skip("needs libtiff-dev")
    folder = patient if suffix == ".tif" else png_patient
    result = run(program, standalone, tmp_path, *(folder / f"{name}{suffix}" for name in volume.names))
    assert result.returncode == 0, result.stderr
    assert f"{expected_SHW.sum()} voxels of lesion" in result.stdout
    np.testing.assert_array_equal(read_masks(tmp_path, volume.names, ".png"), 255 * expected_SHW)


def test_errors_are_one_line(program: Path, standalone: Path, png_patient: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "grey.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("hello")
    whole = next(iter(sorted(png_patient.iterdir())))
    for model, *slices in (
        (standalone, tmp_path / "grey.png"),
        (standalone, tmp_path / "text.png"),
        (standalone, tmp_path / "absent.png"),
        (standalone, whole, tmp_path / "small.png"),
        (tmp_path / "absent.onnx", whole),
    ):
        result = run(program, model, tmp_path, *slices)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(tmp_path.glob("*_mask.png"))
