"""The exported files in programs of others: they read them, rewrite them, and what they compute is the same."""

from pathlib import Path

import onnx
import pytest

from benchmarks.readers_worker import TOOLS, answer, compared, feed_for, in_onnx_runtime, versions
from models.publish import MODELS
from tests.exported import export_small, small_network, small_volume
from wcr_med.export import ExportResult, standalone_of, store

# Those that the tests may depend on; the others are in the table of docs/runtimes.md.
INSTALLED = [tool for tool, version in versions().items() if version is not None]
SHIPPED = sorted(MODELS.glob("*.onnx"))
READS_NO_LOOPS = "reference"  # it concatenates what a Loop yields, where the standard stacks it


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """By the default recipe: storage auto."""
    return export_small(tmp_path_factory.mktemp("readers") / "net.onnx", small_network(features=4))


@pytest.fixture(scope="module")
def standalone(exported: ExportResult) -> Path:
    target = exported.path.with_suffix(".standalone.onnx")
    standalone_of(exported.path, target, volumes=[small_volume(seed=1)], allowed_voxels=20, threads=1)
    return target


def has_sparse_value(path: Path) -> bool:
    return any(entry.name == "sparse_value" for node in onnx.load(path).graph.node for entry in node.attribute)


def test_the_tools_are_there() -> None:
    wanted = {"onnx_runtime", "openvino", "checker", "version_converter", "reference", "onnx_ir"}
    assert set(INSTALLED) >= wanted | {"onnxscript_optimizer", "quant_pre_process"}


@pytest.mark.parametrize("tool", INSTALLED)
def test_a_portable_file(exported: ExportResult, tool: str) -> None:
    assert {row.storage for row in exported.tensors} > {"dense"}
    assert not has_sparse_value(exported.path)
    assert answer(tool, exported.path) == "yes"


@pytest.mark.parametrize("tool", [tool for tool in INSTALLED if tool != READS_NO_LOOPS])
def test_a_standalone_file(standalone: Path, tool: str) -> None:
    assert answer(tool, standalone) == "yes"


@pytest.mark.parametrize("path", SHIPPED, ids=[path.name for path in SHIPPED])
def test_the_files_in_models(path: Path) -> None:
    assert not has_sparse_value(path)
    tools = [tool for tool in INSTALLED if not (tool == READS_NO_LOOPS and ".standalone" in path.name)]
    assert {tool: answer(tool, path) for tool in tools} == dict.fromkeys(tools, "yes")


def test_what_sparse_value_costs(exported: ExportResult, tmp_path: Path) -> None:
    # If this fails, a tool has learnt to read it: make the table of docs/runtimes.md again.
    path = tmp_path / "sparse.onnx"
    onnx.save(store(exported.dense, "sparse_value").model, path)
    refusing = {tool for tool in INSTALLED if answer(tool, path) != "yes"}
    assert refusing == {"version_converter", "reference", "onnx_ir", "onnxscript_optimizer", "quant_pre_process"}


def test_other_answers_are_told(exported: ExportResult) -> None:
    feed = feed_for(exported.path)
    expected = in_onnx_runtime(exported.path, feed)
    assert compared(expected, expected) == "yes"
    assert compared(expected, [values + 1 for values in expected]).startswith("other outputs: by 1")
    assert compared(expected, [values[..., 1:] for values in expected]).startswith("other outputs: shape")
    assert set(TOOLS) >= set(INSTALLED)
