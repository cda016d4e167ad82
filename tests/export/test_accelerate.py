import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.export.programs import feed_for, kernel, parse
from tests.exported import small_volume
from wcr_med import native
from wcr_med.config import DataConfig, ExportConfig
from wcr_med.data.index import index_patients, load_volume
from wcr_med.errors import UserError
from wcr_med.export import (
    Acceleration,
    ExportResult,
    ParityReport,
    export_accelerated,
    open_session,
    require_accelerator,
)
from wcr_med.export.accelerate import accelerate, interleaved
from wcr_med.export.partition import graph as partition_graph
from wcr_med.export.partition import partition
from wcr_med.export.partition.facts import Facts
from wcr_med.export.partition.operators import Lowered
from wcr_med.export.program import Kind, decode_program
from wcr_med.export.storage import Form, Values, store
from wcr_med.native import DOMAIN
from wcr_med.runtime import Segmenter
from wcr_med.timing import SpeedRatio

needs_library = pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")

W, V = kernel(4, 2, 3, 3, density=0.5), kernel(2, 4, 1, 1)
GRAPH = parse("c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c) y = Conv(r, v)", w=W, v=V)
CONFIG = ExportConfig(parity_slices=4, accelerate_rounds=1, accelerate_voxels=2)


def timed(dense_ms: float, tried_ms: float) -> Callable[..., dict[str, list[float]]]:
    """Instead of the clock: three turns of equal runs."""
    return lambda *_: {"dense": [dense_ms] * 15, "tried": [tried_ms] * 15}


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcr_med.export.accelerate.time_in_turn", timed(2.0, 1.0))


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcr_med.export.accelerate.time_in_turn", timed(1.0, 1.0))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")


def volumes() -> Iterator[Any]:
    return iter([small_volume(seed=1), small_volume(seed=2)])


def kinds_of(model: onnx.ModelProto) -> list[Kind]:
    found = []
    for node in model.graph.node:
        if node.domain == DOMAIN:
            values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            found += [op.kind for op in decode_program(values["program"], values["inputs"]).convolutions.values()]
    return found


@needs_library
def test_every_layer_is_timed_in_every_way_that_it_has(faster: None) -> None:
    result = accelerate(GRAPH, feed_for(GRAPH), rounds=1)
    assert [layer.name for layer in result.layers] == ["w", "v"]
    assert [{*layer.milliseconds} for layer in result.layers] == [{*Kind} - {Kind.AUTO}, {Kind.SPARSE, Kind.DENSE}]
    assert all(layer.kind == min(layer.milliseconds, key=layer.milliseconds.__getitem__) for layer in result.layers)
    assert [layer.shape for layer in result.layers] == [(4, 2, 3, 3), (2, 4, 1, 1)]
    assert result.layers[0].density == pytest.approx(np.count_nonzero(W) / 72)
    assert (result.n_nodes, result.n_operations, result.share_of_macs) == (1, 2, 1.0)
    assert result.model is not None
    assert kinds_of(result.model) == [layer.kind for layer in result.layers]
    assert (result.speed, result.why_not) == (SpeedRatio(median=2.0, low=2.0, high=2.0, n_turns=3), None)
    assert result.to_dict()["speedup"] == {"median": 2.0, "low": 2.0, "high": 2.0, "n_turns": 3, "too_noisy": False}
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["accelerated"]
    assert document["layers"][1]["kind"] in ("sparse", "dense")


@needs_library
def test_the_fastest_way_of_each_layer_is_taken(faster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{DOMAIN}.0"
    times = {
        (name, 0): {Kind.SPARSE: 3.0, Kind.DENSE: 2.0, Kind.WINOGRAD2: 1.5, Kind.WINOGRAD4: 1.0},
        (name, 1): {Kind.SPARSE: 3.0, Kind.DENSE: 2.0},
    }
    monkeypatch.setattr("wcr_med.export.accelerate._layer_times", lambda *_, **__: times)
    result = accelerate(GRAPH, feed_for(GRAPH))
    assert result.model is not None
    assert kinds_of(result.model) == [Kind.WINOGRAD4, Kind.DENSE]


@needs_library
def test_what_is_not_faster_is_not_taken(slower: None) -> None:
    result = accelerate(GRAPH, feed_for(GRAPH), rounds=1)
    assert result.model is None
    assert "as fast" in str(result.why_not)
    assert result.speed == SpeedRatio(median=1.0, low=1.0, high=1.0, n_turns=3)
    assert len(result.layers) == 2


def test_a_graph_without_convolutions_is_left_without_measuring() -> None:
    graph = parse("y = Relu(x)")
    result = accelerate(graph, feed_for(graph))
    assert (result.model, result.layers, result.speed, result.dense_ms) == (None, (), None, None)
    assert "no convolution" in str(result.why_not)
    assert json.dumps(result.to_dict())


def test_functions_take_turns() -> None:
    calls: list[str] = []
    medians = interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 2)
    assert calls == ["a", "b"] * 3  # once to warm up
    assert len(medians) == 2
    assert min(medians) >= 0


@needs_library
def test_the_accelerated_file_answers_as_the_portable_one(faster: None, exported: ExportResult, tmp_path: Path) -> None:
    path = tmp_path / "small.accelerated.onnx"
    result = export_accelerated(exported.path, CONFIG, parity_volumes=volumes(), out_path=path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert sum(node.domain == DOMAIN for node in model.graph.node) == 1
    assert result.parity is not None
    assert result.parity.largest_logit_difference <= 1e-4 * result.parity.logit_range
    assert result.parity.n_slices == 4
    assert result.size_bytes == path.stat().st_size < 1.2 * exported.size_bytes
    assert json.dumps(result.to_dict(), allow_nan=False)
    volume = small_volume(seed=3)
    portable, accelerated = (Segmenter.from_file(file, threads=1) for file in (exported.path, path))
    assert accelerated.metadata == portable.metadata
    np.testing.assert_allclose(
        accelerated.probability(volume.image_SHWC), portable.probability(volume.image_SHWC), atol=1e-5
    )


@needs_library
@pytest.mark.parametrize(("storage", "values"), [("rice", "fp16"), ("rice", "int8"), ("sparse_value", "int8")])
def test_rounded_values_are_those_of_the_portable_file(
    faster: None, storage: Form, values: Values, exported: ExportResult, tmp_path: Path
) -> None:
    path = tmp_path / "rounded.onnx"
    onnx.save(store(exported.dense, storage, values).model, path)
    config = ExportConfig(parity_slices=4, accelerate_rounds=1, accelerate_voxels=2, storage=storage, values=values)
    result = export_accelerated(path, config, parity_volumes=volumes(), out_path=tmp_path / "fast.onnx")
    assert result.parity is not None
    constants = onnx.load(result.path).graph.initializer
    stored = {tensor.data_type for tensor in constants if "values" in tensor.name}
    assert stored == {onnx.TensorProto.FLOAT16 if values == "fp16" else onnx.TensorProto.INT8}
    kernels, coded = (sum(tensor.name.endswith(end) for tensor in constants) for end in (".values", ".high"))
    assert (coded == kernels) == (storage == "rice")  # of sparse_value each is the smallest there is


@needs_library
def test_kernels_outside_are_those_of_the_portable_file(
    faster: None, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower_all = partition_graph.lower

    def lower_some(node: onnx.NodeProto, facts: Facts) -> Lowered | str:
        wide = node.op_type == "Conv" and "head" not in node.input[1]
        return "not today" if wide else lower_all(node, facts)

    monkeypatch.setattr(partition_graph, "lower", lower_some)
    path = tmp_path / "rounded.onnx"
    onnx.save(store(exported.dense, "auto", "int8").model, path)
    config = CONFIG.model_copy(update={"values": "int8"})
    result = export_accelerated(path, config, parity_volumes=volumes(), out_path=tmp_path / "fast.onnx")
    graph = onnx.load(result.path).graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    assert len(kernels) > 5
    assert not kernels & {tensor.name for tensor in graph.initializer}  # each comes from a decoder
    assert any(node.domain == DOMAIN for node in graph.node)
    assert result.parity is not None
    assert result.parity.largest_logit_difference <= 1e-4 * result.parity.logit_range


@needs_library
def test_what_is_not_faster_is_the_portable_file(slower: None, exported: ExportResult, tmp_path: Path) -> None:
    result = export_accelerated(exported.path, CONFIG, parity_volumes=volumes(), out_path=tmp_path / "fast.onnx")
    assert result.path.read_bytes() == exported.path.read_bytes()
    assert result.sha256 == exported.sha256
    assert result.parity is None
    assert result.to_dict()["accelerated"] is False


@needs_library
def test_a_file_that_answers_otherwise_is_not_written(
    exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> Acceleration:
        model = onnx.ModelProto()
        model.CopyFrom(exported.dense)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        unmeasured = accelerate(parse("y = Relu(x)"), {})
        return dataclasses.replace(unmeasured, model=model)

    monkeypatch.setattr("wcr_med.export.accelerated.accelerate", wrong)
    path = tmp_path / "fast.onnx"
    path.write_text("older")
    with pytest.raises(UserError, match=r"differs from the portable one: logits by 0\.1.*accelerate_tolerance"):
        export_accelerated(exported.path, CONFIG, parity_volumes=volumes(), out_path=path)
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["fast.onnx"]


@needs_library
def test_without_volumes_there_is_nothing_to_time(exported: ExportResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no volumes"):
        export_accelerated(exported.path, CONFIG, parity_volumes=[], out_path=tmp_path / "fast.onnx")


def test_without_the_library_nothing_is_done(no_library: None, exported: ExportResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="accelerator was not built"):
        require_accelerator()
    with pytest.raises(UserError, match="accelerator was not built"):
        export_accelerated(exported.path, CONFIG, parity_volumes=volumes(), out_path=tmp_path / "fast.onnx")


def test_a_library_that_does_not_load_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    monkeypatch.setattr(native, "_LIBRARY", broken)
    with pytest.raises(UserError, match=r"export\.accelerate: the accelerator does not load here \(.*broken\.so"):
        require_accelerator()
    assert len(open_session(GRAPH, threads=1).run(None, feed_for(GRAPH))) == 1  # what needs no accelerator opens


def report(**changes: float) -> ParityReport:
    fields: dict[str, Any] = {
        "largest_logit_difference": 1e-3,
        "logit_range": 20.0,
        "largest_dice_difference": 0.0,
        "n_differing_voxels": 0,
        "n_voxels": 100,
        "n_slices": 4,
        "n_patients": 2,
    }
    return ParityReport(**{**fields, **changes})


def test_the_gate_of_the_accelerated_file() -> None:
    report().require_same_masks(range_tolerance=1e-4, n_voxels=0)
    for changes, message in (
        ({"largest_logit_difference": 3e-3}, "logits by 0.003, export.accelerate_tolerance allows 0.002"),
        ({"largest_logit_difference": float("nan")}, "logits by nan"),
        ({"n_differing_voxels": 1}, "in 1 voxels, export.accelerate_voxels allows 0"),
    ):
        with pytest.raises(UserError, match=message):
            report(**changes).require_same_masks(range_tolerance=1e-4, n_voxels=0)


def test_constants_are_found_by_their_index() -> None:
    subgraph = partition(GRAPH).subgraphs[0]
    assert [subgraph.constant(op.weight)[0] for op in subgraph.program.convolutions.values()] == ["w", "v"]


@needs_library
@pytest.mark.lgg
def test_real_slices(faster: None, exported: ExportResult, lgg_root: Path, tmp_path: Path) -> None:
    entries = index_patients(DataConfig(root=lgg_root))[:2]
    config = ExportConfig(parity_slices=16, accelerate_rounds=1)
    path = tmp_path / "lgg.accelerated.onnx"
    result = export_accelerated(exported.path, config, parity_volumes=map(load_volume, entries), out_path=path)
    assert result.parity is not None
    assert (result.parity.n_slices, result.parity.n_differing_voxels) == (16, 0)
