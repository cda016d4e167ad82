"""The matrix of runtimes: what it says of files that run, differ, or do not load."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.runtimes import BEGIN, END, Cell, Run, Runtime, matrix, model_files, onnx_runtime, openvino_cpu, placed
from tests.exported import export_small, small_volume, tiny_network


def failing(path: Path) -> Run:
    raise RuntimeError(f"{path.name} is | odd\nand more")


def shifted(path: Path) -> Run:
    run = onnx_runtime().open(path)
    return lambda feed, names: [np.ones_like(values) for values in run(feed, names)]


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("model") / "tiny.onnx", tiny_network()).path


def test_matrix(portable: Path, tmp_path: Path) -> None:
    volumes = [small_volume(seed=1), small_volume(seed=2)]
    files = model_files(portable, volumes, tmp_path)
    assert set(files) == {"portable", "standalone"}
    others = [Runtime(name="broken", open=failing), Runtime(name="other", open=shifted)]
    table = matrix(files, volumes, [onnx_runtime(), openvino_cpu(), *others])
    head, rule, runtime, vino, broken, other = table.splitlines()
    assert head == "| | portable | standalone |"
    assert rule == "|---|---|---|"
    assert runtime.startswith("| ONNX Runtime 1.")
    assert "yes; probabilities identical, masks identical | yes; probabilities within " in runtime
    assert "| yes; probabilities within " in vino
    assert broken == "| broken | no: tiny.onnx is / odd | no: tiny.standalone.onnx is / odd |"
    n_voxels = 2 * 6 * 40 * 40
    assert f" of {n_voxels:,} voxels differ | yes; probabilities within " in other


def test_an_accelerated_file_that_is_a_copy_is_left_out(portable: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(portable.read_bytes())
    (tmp_path / "tiny.accelerated.onnx").write_bytes(b"faster")
    assert "accelerated" in model_files(path, [small_volume(seed=1)], tmp_path)
    (tmp_path / "tiny.accelerated.onnx").write_bytes(portable.read_bytes())
    assert "accelerated" not in model_files(path, [small_volume(seed=1)], tmp_path)


def test_cell() -> None:
    assert str(Cell(problem="why")) == "no: why"
    assert str(Cell(n_voxels=7)) == "yes; probabilities identical, masks identical"
    assert str(Cell(difference=1e-6, n_differing=2, n_voxels=7000)) == (
        "yes; probabilities within 1.0e-06, 2 of 7,000 voxels differ"
    )


def test_page() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert placed(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(SystemExit, match="no lines"):
        placed("page", "new")
