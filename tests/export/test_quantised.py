"""The file that computes in INT8."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from torch import nn

from tests.exported import SIZE, export_small, open_session, small_artefact, small_network, small_volume
from wcr_med.config import ExportConfig, ModelConfig
from wcr_med.errors import UserError
from wcr_med.export import ExportResult, export_quantised
from wcr_med.export.parity import ParityReport
from wcr_med.export.quantised import QuantisedResult, calibration_feeds, quantise
from wcr_med.export.quantised.graph import computing_nodes, named_nodes
from wcr_med.export.storage import store
from wcr_med.files import sha256_of_file
from wcr_med.preprocess import PreprocessSettings
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume

SETTINGS = PreprocessSettings(height=SIZE, width=SIZE)
LOOSE = ExportConfig(parity_slices=8, quantised_dice_tolerance=1.0, quantised_voxel_tolerance=1.0)


ARTEFACT = small_artefact(model_config=ModelConfig(features=4).model_dump(mode="json"))


def volumes() -> Iterable[Volume]:
    return [small_volume(seed=1), small_volume(seed=2)]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_network(features=4)  # with fewer features these images all give the same


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export_small(tmp_path_factory.mktemp("portable") / "small.onnx", network, ARTEFACT)


@pytest.fixture(scope="module")
def dense(exported: ExportResult) -> onnx.ModelProto:
    return named_nodes(exported.dense)


@pytest.fixture(scope="module")
def graph(dense: onnx.ModelProto) -> onnx.ModelProto:
    return quantise(dense, calibration_feeds(volumes(), SETTINGS))


def export(network: nn.Module, exported: ExportResult, target: Path, config: ExportConfig = LOOSE) -> QuantisedResult:
    return export_quantised(
        network,
        ARTEFACT,
        config,
        portable=exported.path,
        calibration_volumes=volumes(),
        parity_volumes=volumes,
        out_path=target,
    )


@pytest.fixture(scope="module")
def result(network: nn.Module, exported: ExportResult, tmp_path_factory: pytest.TempPathFactory) -> QuantisedResult:
    return export(network, exported, tmp_path_factory.mktemp("int8") / "small.int8.onnx")


def int8_kernels(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: array for name, array in arrays.items() if array.dtype == np.int8 and array.ndim >= 2}


def test_every_layer_is_quantised_and_zeros_stay_zeros(dense: onnx.ModelProto, graph: onnx.ModelProto) -> None:
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in dense.graph.initializer}
    found = int8_kernels(graph)
    assert len(found) == len(computing_nodes(dense))
    for name, codes in found.items():
        kernel = before[name.removesuffix("_quantized")]
        assert not codes[kernel == 0].any()
        assert np.abs(codes.astype(int)).max() <= 64  # 7 bits: no sum saturates without VNNI


def test_scales_are_those_of_output_channels_and_symmetric(graph: onnx.ModelProto) -> None:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    kernels = int8_kernels(graph)
    readers = [node for node in graph.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in kernels]
    assert len(readers) == len(kernels)
    for node in readers:
        axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
        assert arrays[node.input[1]].shape == (kernels[node.input[0]].shape[axis],)
        assert not arrays[node.input[2]].any()


def test_kept_layers_stay_float32(dense: onnx.ModelProto) -> None:
    layers = computing_nodes(dense)
    graph = quantise(dense, calibration_feeds(volumes(), SETTINGS, n_slices=2), keep=layers[-1:])
    assert len(int8_kernels(graph)) == len(layers) - 1
    last = next(node for node in dense.graph.node if node.name == layers[-1])
    same = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in dense.graph.initializer}
    np.testing.assert_array_equal(same[last.input[1]], before[last.input[1]])


@pytest.mark.parametrize("storage", ["auto", "gap8", "rice", "sparse_value", "dense"])
def test_sparse_storage_changes_no_bit_of_the_answer(graph: onnx.ModelProto, storage: str) -> None:
    stored = store(graph, storage)
    assert {row.values for row in stored.tensors} == {"int8"}
    (feed, *_) = calibration_feeds(volumes(), SETTINGS)
    for expected, found in zip(
        open_session(graph).run(None, feed), open_session(stored.model).run(None, feed), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_sparse_codes_are_smaller(graph: onnx.ModelProto) -> None:
    smallest = store(graph, "auto")
    assert {row.storage for row in smallest.tensors} - {"dense"}
    assert smallest.model.ByteSize() < store(graph, "dense").model.ByteSize()


def test_the_file_runs_with_integer_kernels_and_all_metadata(
    exported: ExportResult, result: QuantisedResult, tmp_path: Path
) -> None:
    assert result.sha256 == sha256_of_file(result.path)
    assert result.portable_sha256 == exported.sha256
    with Segmenter.from_file(result.path, threads=1) as segmenter:
        answer = segmenter(small_volume(seed=3).image_SHWC)
        expected, found = segmenter.metadata.to_json(), exported.metadata
        assert segmenter.metadata.threshold == found.threshold
        assert segmenter.metadata.split_hash == found.split_hash
        assert segmenter.metadata.licence in expected
    assert answer.mask.shape == (6, 40, 40)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(result.path), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert "QLinearConv" in operators
    assert "ScatterElements" not in operators  # kernels are decoded once, at load


def test_the_answer_is_near_that_of_the_portable_file(result: QuantisedResult) -> None:
    assert 0 < result.parity.largest_logit_difference < 0.1 * result.parity.logit_range
    assert result.parity.n_slices == 8
    document = result.to_dict()
    assert document["parity"]["largest_dice_difference"] == result.parity.largest_dice_difference
    assert document["kept_fp32"] == list(result.kept_fp32)


def test_a_file_that_finds_otherwise_is_refused(
    network: nn.Module, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def recorded(real: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
        def quantise(*arguments: object, keep: tuple[str, ...]) -> onnx.ModelProto:
            tried.append(len(keep))
            return real(*arguments, keep=keep)

        return quantise

    monkeypatch.setattr("wcr_med.export.quantised.export.quantise", recorded(quantise))
    target = tmp_path / "small.int8.onnx"
    target.write_text("older")
    strict = ExportConfig(parity_slices=4, quantised_dice_tolerance=1e-12, quantised_voxel_tolerance=1e-12)
    with pytest.raises(UserError, match=r"INT8 change the network: .* allows 1e-12 .*portable file was"):
        export(network, exported, target, strict)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]
    assert tried == [0, 1, 2]


def test_answers_that_are_not_finite_are_refused() -> None:
    report = ParityReport(
        largest_logit_difference=float("nan"),
        logit_range=1.0,
        largest_dice_difference=0.0,
        n_differing_voxels=0,
        n_voxels=1,
        n_slices=1,
        n_patients=1,
    )
    with pytest.raises(UserError, match="not finite"):
        report.require_quantised(dice_tolerance=1.0, voxel_tolerance=1.0)


def test_calibration_takes_few_slices_of_many_patients() -> None:
    feeds = calibration_feeds((small_volume(seed=seed) for seed in range(3)), SETTINGS, n_slices=10)
    assert len(feeds) == 10
    assert {feed["image"].shape for feed in feeds} == {(1, 3, SIZE, SIZE)}
    with pytest.raises(UserError, match="at least one training patient"):
        calibration_feeds([], SETTINGS)
