"""Slices with an orientation tag: refused alike by the package and by every example, or read as they are stored."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.examples.ways import EXAMPLES, Network, Page, by_page, run
from wcr_med.volumes import FileError
from wcr_med.volumes.images import read_mask, read_rgb

ROWS, COLUMNS = 24, 32
RGB = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
MASK = np.where(RGB[..., 0] > 128, 255, 0).astype(np.uint8)
TURNED = range(2, 9)


def tagged(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    """A file with this orientation tag."""
    if path.suffix == ".tif":
        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric, extratags=[(274, "H", 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels).save(path, exif=exif)
    return path


def moved(path: Path) -> Path:
    """The EXIF block of a PNG behind its pixels, where the standard allows it too."""
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    return path


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """examples/python/segment.py."""
    spec = importlib.util.spec_from_file_location("segment_example", EXAMPLES / "python" / "segment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_package_and_python(example: ModuleType, tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tagged(tmp_path / f"s_1{suffix}", RGB, orientation)
    mask = tagged(tmp_path / f"s_1_mask{suffix}", MASK, orientation)
    if orientation == 1:
        np.testing.assert_array_equal(read_rgb(path), RGB)
        np.testing.assert_array_equal(read_mask(mask), MASK // 255)
        np.testing.assert_array_equal(example.read_slice(path), RGB)
        return
    for read, file in ((read_rgb, path), (read_mask, mask)):
        with pytest.raises(FileError, match=f"orientation tag is {orientation}.*; save it upright"):
            read(file)
    with pytest.raises(SystemExit, match=r"orientation tag.*; save it upright"):
        example.read_slice(path)


def test_an_exif_block_behind_the_pixels(example: ModuleType, tmp_path: Path) -> None:
    path = moved(tagged(tmp_path / "s.png", RGB, 6))
    with pytest.raises(FileError, match="orientation tag is 6"):
        read_rgb(path)
    with pytest.raises(SystemExit, match="orientation tag"):
        example.read_slice(path)


@pytest.mark.parametrize("orientation", [0, 9])
def test_a_tag_that_means_nothing(tmp_path: Path, orientation: int) -> None:
    for suffix in (".tif", ".png"):
        np.testing.assert_array_equal(read_rgb(tagged(tmp_path / f"s{suffix}", RGB, orientation)), RGB)


def test_program(program: Path, network: Network, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for orientation in range(1, 9):
        for place in (".tif", ".png", "behind"):
            path = tagged(tmp_path / f"s{orientation}{'.png' if place == 'behind' else place}", RGB, orientation)
            path = moved(path) if place == "behind" else path
            result = run(program, network.standalone, tmp_path / "out", path)
            written = tmp_path / "out" / f"{path.stem}_mask.png"
            assert result.returncode == (orientation in TURNED), result.stderr
            assert written.is_file() == (orientation not in TURNED)
            if orientation in TURNED:
                (line,) = result.stderr.splitlines()
                assert line.endswith("(orientation tag); save it upright")
            written.unlink(missing_ok=True)


def test_the_page_finds_the_tag_of_a_png(tmp_path: Path) -> None:
    paths = [tagged(tmp_path / f"s{orientation}.png", RGB, orientation) for orientation in range(1, 9)]
    paths.append(moved(tagged(tmp_path / "behind.png", RGB, 5)))
    Image.fromarray(RGB).save(tmp_path / "none.png")
    script = (
        f"import {{ orientationOf }} from {str(EXAMPLES / 'web' / 'segment.js')!r};"
        "import { readFileSync } from 'node:fs';"
        "for (const path of process.argv.slice(1)) {"
        "  const file = readFileSync(path);"
        "  console.log(orientationOf(file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength)));"
        "}"
    )
    command = ["node", "--input-type=module", "-e", script, *map(str, [*paths, tmp_path / "none.png"])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs node")
    assert done.stdout.split() == ["1", "2", "3", "4", "5", "6", "7", "8", "5", "undefined"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_page(page: Page, network: Network, tmp_path: Path, suffix: str) -> None:
    for orientation in (1, 6):
        path = tagged(tmp_path / f"s{orientation}{suffix}", RGB, orientation)
        result = by_page(page, network, path, tmp_path / "out")
        assert result.stdout.startswith(f"Error: {path.name}: ") == (orientation == 6), result.stderr
        assert ("orientation tag" in result.stdout) == (orientation == 6)
