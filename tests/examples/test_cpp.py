"""examples/cpp: what is its own, beside NIfTI (test_refused) and the masks (test_every_way)."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.examples.conftest import Array
from tests.examples.ways import Network, read_mask, run
from wcr_med.volumes import Volume


def test_png(
    program: Path, network: Network, png_patient: Path, volume: Volume, expected_SHW: Array, tmp_path: Path
) -> None:
    result = run(program, network.standalone, tmp_path, *(png_patient / f"{name}.png" for name in volume.names))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{expected_SHW.sum()} voxels of lesion in {len(volume.names)} slices")
    np.testing.assert_array_equal(read_mask(tmp_path, volume), expected_SHW)


def test_errors_are_one_line(
    program: Path, network: Network, png_patient: Path, scans: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "grey.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("hello")
    whole, model = min(png_patient.iterdir()), network.standalone
    for arguments in (
        (model, tmp_path, tmp_path / "grey.png"),
        (model, tmp_path, tmp_path / "text.png"),
        (model, tmp_path, tmp_path / "absent.png"),
        (model, tmp_path, whole, tmp_path / "small.png"),
        (model, tmp_path, scans["turned"], whole),
        (model, tmp_path / "absent", scans["turned"]),
        (tmp_path / "absent.onnx", tmp_path, whole),
    ):
        result = run(program, *arguments)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(tmp_path.rglob("*_mask.*"))
