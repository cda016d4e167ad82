"""The ways to segment a patient with an exported network, each run as its user runs it."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from wcr_med.volumes import Volume
from wcr_med.volumes.kaggle import list_slices, read_kaggle_patient
from wcr_med.volumes.nifti import read_nifti

Array = npt.NDArray[Any]
Done = subprocess.CompletedProcess[str]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_COMPILER = shutil.which("g++")
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Where there are real headers they are used: WCR_MED_ORT_INCLUDE names their folder.
_ORT_HEADERS = os.environ.get("WCR_MED_ORT_INCLUDE", str(Path(__file__).parent / "ort_abi"))


@dataclass(frozen=True, kw_only=True)
class Network:
    """The two files of one network."""

    portable: Path
    standalone: Path


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page of examples/web, served; and the folder of the browser's driver."""

    url: str
    driver: Path


def run(*command: object, **options: Any) -> Done:
    """What a command says; it may fail."""
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


def by_command(network: Network, patient: Path, out: Path, *options: str) -> Done:
    """`wcr-med infer`; `patient` is a folder in kaggle_3m layout or a NIfTI file, here and below."""
    return run(sys.executable, "-m", "wcr_med", "infer", network.portable, patient, "-o", out, *options)


def by_python(network: Network, patient: Path, out: Path) -> Done:
    """examples/python."""
    return run(sys.executable, EXAMPLES / "python" / "segment.py", network.standalone, patient, out)


def by_program(program: Path, network: Network, patient: Path, out: Path) -> Done:
    """examples/cpp."""
    images = [pair.image for pair in list_slices(patient)] if patient.is_dir() else [patient]
    out.mkdir(exist_ok=True)
    return run(program, network.standalone, out, *images)


def by_page(page: Page, network: Network, patient: Path, out: Path) -> Done:
    """examples/web; of a folder all files, 10 before 2, reference masks among them."""
    images = sorted(patient.iterdir()) if patient.is_dir() else [patient]
    environment = {**os.environ, "CHROMIUM": str(_CHROMIUM), "PLAYWRIGHT": str(page.driver)}
    script = Path(__file__).with_name("drive.mjs")
    return run("node", script, page.url, network.standalone, out, *images, env=environment)


def read_patient(patient: Path) -> Volume:
    """As this package reads it."""
    if patient.is_dir():
        return read_kaggle_patient(patient, with_mask=False)
    return read_nifti([patient], None, patient_id="scan")


def nifti_mask(out: Path) -> Path | None:
    """The NIfTI file that was written, if one was."""
    found = list(out.glob("*mask.nii.gz"))
    assert len(found) <= 1
    return found[0] if found else None


def read_mask(out: Path, volume: Volume) -> Array:
    """What was found: slices x rows x columns of 0 and 1, from a NIfTI file or an image a slice."""
    written = nifti_mask(out)
    if written is not None:
        return read_nifti([written], None, patient_id="mask").image_SHWC[..., 0]
    images = {path.stem: path for path in out.rglob("*_mask.*")}
    assert len(images) == len(volume.names)
    mask_SHW = np.stack([np.asarray(Image.open(images[f"{name}_mask"])) for name in volume.names])
    assert set(np.unique(mask_SHW)) <= {0, 255}
    return mask_SHW // 255


def compiles(include: str) -> bool:
    """Whether the compiler finds a header."""
    command = [str(_COMPILER), "-E", "-x", "c++", "-"]
    return subprocess.run(command, input=f"#include <{include}>\n", text=True, capture_output=True).returncode == 0


def build_program(folder: Path) -> Path:
    """examples/cpp, compiled with the library of ONNX Runtime's wheel; skips where that cannot be."""
    if _COMPILER is None or not all(map(compiles, ("png.h", "tiffio.h", "zlib.h"))):
        pytest.skip("needs g++, libpng-dev, libtiff-dev and zlib1g-dev")
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if sys.platform != "linux" or not libraries:
        pytest.skip("ONNX Runtime's wheel holds no library to link with here")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # to link with, and its own name
        (folder / name).symlink_to(libraries[0])
    command = [_COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", EXAMPLES / "cpp" / "segment.cpp"]
    command += [f"-I{_ORT_HEADERS}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime", "-lpng", "-ltiff", "-lz"]
    result = run(*command, "-o", folder / "segment")
    assert result.returncode == 0, result.stderr
    return folder / "segment"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, says nothing."""

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def serve_page(root: Path) -> Iterator[Page]:
    """examples/web with its packages, and the driver's in a folder beside it; skips where that cannot be."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None] + ([] if _CHROMIUM else ["chromium"])
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    site, driver = root / "site", root / "driver"
    shutil.copytree(EXAMPLES / "web", site, ignore=shutil.ignore_patterns("node_modules"))
    driver.mkdir()
    for place, packages in ((site, []), (driver, ["playwright-core@1"])):
        result = run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages, cwd=place)
        if result.returncode:
            pytest.skip(f"npm install failed: {result.stderr[-200:]}")
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Page(url=f"http://127.0.0.1:{server.server_address[1]}/", driver=driver)
        server.shutdown()
