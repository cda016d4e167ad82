"""Damaged files of every kind: a result or one line to the user; no other error, no crash, little memory.

The slow test goes on for WCR_MED_FUZZ_SECONDS (60) a kind; the other is a smoke test.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from tests.exported import export_small, small_volume, tiny_network
from tests.fuzz.mutations import Mutation, damaged, mutations
from tests.test_model_metadata import document
from wcr_med.onnx_file import unsealed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")

_CHILD = Path(__file__).with_name("child.py")
_SECONDS = float(os.environ.get("WCR_MED_FUZZ_SECONDS", "60"))
_KINDS = {
    "tiny.onnx": "model",
    "dense.onnx": "model",
    "contents.onnx": "contents",
    "s.nii": "nifti",
    "s.nii.gz": "nifti",
    "s.png": "images",
    "s.tif": "images",
    "packed.tif": "images",
    "metadata.json": "metadata",
}
_HEADERS = {"s.nii": 400, "s.tif": 400, "packed.tif": 400}
_BOUNDED = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


class Reader:
    """The other process, started anew where a file has killed it."""

    def __init__(self, kind: str, good: Path) -> None:
        self._command = [sys.executable, str(_CHILD), kind, str(good)]
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_CHILD.parents[2]
            )
            assert self._process.stdout is not None
            first = self._process.stdout.readline()
            if first != "good\n":
                raise RuntimeError(f"the good file: {first}")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(path, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            code, self._process = self._process.wait(), None
            return f"fault: the process ended with {code}"
        return line

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    export_small(folder / "tiny.onnx", tiny_network(), storage="gap8")
    export_small(folder / "dense.onnx", tiny_network(), storage="dense")
    (folder / "contents.onnx").write_bytes((folder / "tiny.onnx").read_bytes())
    image_SHWC = small_volume(n_slices=2).image_SHWC
    values = np.moveaxis(image_SHWC, 0, 2).astype(np.float32)
    for name in ("s.nii", "s.nii.gz"):
        nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])), folder / name)
    picture = Image.fromarray(image_SHWC[0])
    picture.save(folder / "s.png")
    picture.save(folder / "s.tif")
    picture.save(folder / "packed.tif", compression="tiff_lzw")
    (folder / "metadata.json").write_text(document(), encoding="utf-8")
    return folder


@pytest.fixture(params=list(_KINDS))
def good(request: pytest.FixtureRequest, good_files: Path) -> Path:
    return good_files / str(request.param)


@pytest.fixture
def reader(good: Path) -> Iterator[Reader]:
    made = Reader(_KINDS[good.name], good)
    assert made(good) == "good\n"
    yield made
    made.close()


def check(reader: Reader, good: Path, folder: Path, changes: list[Mutation], header_only: bool) -> None:
    content = good.read_bytes()
    if good.suffix == ".onnx":
        content = unsealed(content)  # else the checksum would refuse every change
    content = damaged(content, changes, within=_HEADERS.get(good.name) if header_only else None)
    bad = folder / f"bad{''.join(good.suffixes)}"
    bad.write_bytes(content)
    answer = reader(bad)
    assert not answer.startswith("fault"), answer


def test_some_damage(reader: Reader, good: Path, tmp_path: Path) -> None:
    @settings(_BOUNDED, max_examples=60, derandomize=True)
    @given(mutations, st.booleans())
    def run(changes: list[Mutation], header_only: bool) -> None:
        check(reader, good, tmp_path, changes, header_only)

    run()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_much_damage(reader: Reader, good: Path, tmp_path: Path) -> None:
    end, rounds = time.monotonic() + _SECONDS, 0
    while time.monotonic() < end:

        @seed(rounds)
        @settings(_BOUNDED, max_examples=100)
        @given(mutations, st.booleans())
        def run(changes: list[Mutation], header_only: bool) -> None:
            check(reader, good, tmp_path, changes, header_only)

        run()
        rounds += 1
    sys.stdout.write(f"{good.name}: {100 * rounds} damaged files\n")  # shown by `-rA`
