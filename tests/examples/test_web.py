"""examples/web: the page, used as a person does, in headless Chromium; everything comes from this machine."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.examples.conftest import EXAMPLES
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

pytestmark = pytest.mark.slow  # fetches some 100 MB

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, says nothing."""

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, and the driver's in a folder beside it."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None] + ([] if CHROMIUM else ["chromium"])
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    root = tmp_path_factory.mktemp("web")
    site, driver = root / "site", root / "driver"
    shutil.copytree(EXAMPLES / "web", site, ignore=shutil.ignore_patterns("node_modules"))
    driver.mkdir()
    for place, packages in ((site, []), (driver, ["playwright-core@1"])):
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages]
        result = subprocess.run(command, cwd=place, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"npm install failed: {result.stderr[-200:]}")
    return root


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(folder / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def drive(folder: Path, url: str, model: Path, out: Path, slices: list[Path]) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("drive.mjs")
    environment = {**os.environ, "CHROMIUM": str(CHROMIUM), "PLAYWRIGHT": str(folder / "driver")}
    command = ["node", str(script), url, str(model), str(out), *map(str, slices)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_page_finds_the_same(
    folder: Path,
    url: str,
    standalone: Path,
    patient: Path,
    png_patient: Path,
    volume: Volume,
    expected_SHW: Array,
    suffix: str,
    tmp_path: Path,
) -> None:
    source = patient if suffix == ".tif" else png_patient
    files = sorted(source.iterdir())  # 10 before 2, reference masks among them
    result = drive(folder, url, standalone, tmp_path / "mask", files)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no request failed, none went elsewhere
    assert result.stdout == f"Done: {expected_SHW.sum()} voxels of lesion in {len(volume.names)} slices.\n"
    found_SHW = np.fromfile(tmp_path / "mask", dtype=np.uint8).reshape(expected_SHW.shape)
    np.testing.assert_array_equal(found_SHW, expected_SHW)


def test_page_says_what_is_wrong(folder: Path, url: str, standalone: Path, tmp_path: Path) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "grey.tif")
    result = drive(folder, url, standalone, tmp_path / "mask", [tmp_path / "grey.tif"])
    assert result.stdout == "Error: grey.tif: not an 8-bit RGB image\n", result.stderr
