"""NIfTI files that an example cannot segment rightly: one line, and no mask."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.examples.scans import BROKEN, scan
from tests.examples.ways import Done, Network, Page, by_page, by_program, by_python, run
from wcr_med.volumes import Volume


@pytest.fixture(params=list(BROKEN))
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file, and words of the refusal."""
    name, content, words = BROKEN[request.param]
    (tmp_path / name).write_bytes(content)
    return tmp_path / name, words


def require_refused(result: Done, path: Path, words: str, out: Path) -> None:
    """Assert one line that names the file, and nothing written."""
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert str(path) in line
    assert words in line
    assert not list(out.glob("*mask*"))


def test_python(network: Network, broken: tuple[Path, str], tmp_path: Path) -> None:
    require_refused(by_python(network, broken[0], tmp_path / "out"), *broken, tmp_path / "out")


def test_program(program: Path, network: Network, broken: tuple[Path, str], tmp_path: Path) -> None:
    require_refused(by_program(program, network, broken[0], tmp_path / "out"), *broken, tmp_path / "out")


@pytest.mark.slow
def test_page(page: Page, network: Network, broken: tuple[Path, str], tmp_path: Path) -> None:
    path, words = broken
    result = by_page(page, network, path, tmp_path / "out")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Error: {path.name}: ")
    assert words in result.stdout
    assert not list((tmp_path / "out").glob("*mask*"))


def test_absent(program: Path, network: Network, tmp_path: Path) -> None:
    path = tmp_path / "absent.nii.gz"
    require_refused(by_python(network, path, tmp_path / "out"), path, "cannot be read", tmp_path / "out")
    require_refused(by_program(program, network, path, tmp_path / "out"), path, "cannot be opened", tmp_path / "out")


def test_between_two_axes(program: Path, network: Network, volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    scan(volume.image_SHWC, "LPS", 35, "sform").to_filename(path)
    result = by_program(program, network, path, tmp_path / "out")
    require_refused(result, path, "more than 30 degrees", tmp_path / "out")


def test_two_slices_of_one_name(program: Path, network: Network, tmp_path: Path) -> None:
    """They would have one mask."""
    paths = [tmp_path / folder / "s1.TIF" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8)).save(path, format="TIFF")
    (tmp_path / "out").mkdir()
    result = run(program, network.standalone, tmp_path / "out", *paths)
    require_refused(result, paths[1], "two slices have this name", tmp_path / "out")
    assert run(program, network.standalone, tmp_path / "out", paths[0]).returncode == 0
