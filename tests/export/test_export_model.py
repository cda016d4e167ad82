import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.exported import (
    SIZE,
    export_small,
    open_session,
    small_artefact,
    small_volume,
    tiny_network,
)
from wcr_med.config import ExportConfig, ModelConfig
from wcr_med.errors import UserError
from wcr_med.evaluation import torch_predictor
from wcr_med.export import ExportResult, build_graph, export_model
from wcr_med.export.storage import Values
from wcr_med.files import sha256_of_file
from wcr_med.models import build_model, prunable_parameters, sparsity
from wcr_med.preprocess import PreprocessSettings, binarise
from wcr_med.pruning import make_mask
from wcr_med.runtime import Segmenter

DECODERS = {"ScatterElements", "CumSum", "ConstantOfShape", "Cast", "BitShift", "BitwiseAnd", "Split", "Gather"}


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def optimised(path: Path, folder: Path, level: onnxruntime.GraphOptimizationLevel) -> onnx.ModelProto:
    """What ONNX Runtime makes of a file while loading it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def test_the_file_is_whole_and_says_what_it_is(exported: ExportResult) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.key for entry in model.metadata_props] == [
        "wcr_med",
        "wcr_med.layers",
        "wcr_med.checksum",
        "wcr_med.sha256",
    ]
    assert json.loads(model.metadata_props[0].value)["split_hash"] == "0123abcd"
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.sha256 == sha256_of_file(exported.path)
    assert exported.batch_norms_folded == 18


def test_the_result_is_json(exported: ExportResult) -> None:
    document = exported.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["file"] == exported.path.name
    assert 0 < document["size_ratio"] < 1
    assert document["parity"]["largest_logit_difference"] < 1e-3
    assert {row["storage"] for row in document["tensors"]} == {"gap8", "dense"}
    assert {row["values"] for row in document["tensors"]} == {"fp32"}


def test_onnx_runtime_decodes_while_loading(exported: ExportResult, tmp_path: Path) -> None:
    before = operators(onnx.load(exported.path))
    assert before["ScatterElements"] == before["CumSum"] > 0
    for level in ("ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
        after = operators(optimised(exported.path, tmp_path, getattr(onnxruntime.GraphOptimizationLevel, level)))
        assert not DECODERS & set(after)


def test_sparse_and_dense_files_are_the_same_network() -> None:
    settings = PreprocessSettings(height=SIZE, width=SIZE)
    files = [build_graph(tiny_network(), settings, in_channels=3, storage=form).model for form in ("gap8", "dense")]
    image = np.random.default_rng(0).uniform(0, 255, (2, 3, SIZE, SIZE)).astype(np.float32)
    feed = {"image": image, "centre": np.full(3, 100, np.float32), "spread": np.full(3, 50, np.float32)}
    results = [open_session(file).run(None, feed) for file in files]
    assert operators(files[0])["ScatterElements"] == 2
    for sparse_output, dense_output in zip(*results, strict=True):
        assert sparse_output.tobytes() == dense_output.tobytes()


def test_zeros_of_the_network_are_zeros_of_the_graph(network: nn.Module) -> None:
    kept = {name: int(kernel.count_nonzero()) for name, kernel in prunable_parameters(network).items()}
    settings = PreprocessSettings(height=SIZE, width=SIZE)
    built = build_graph(network, settings, in_channels=3, remove_dead_channels=False)
    assert {row.name.removeprefix("network."): row.n_stored for row in built.tensors} == kept
    assert built.dead_channels is None


def test_dead_channels_go_and_the_figures_of_sparsity_stay(network: nn.Module, exported: ExportResult) -> None:
    document = exported.to_dict()
    removed = document["dead_channels"]
    rows = {row["name"].removeprefix("network."): row for row in removed["layers"]}
    assert rows.keys() == prunable_parameters(network).keys()
    assert removed["n_parameters_after"] < removed["n_parameters_before"]
    assert any(row["outputs_after"] < row["outputs_before"] for row in rows.values())
    figures = sparsity(network).to_dict()
    assert document["sparsity"] == {name: value for name, value in figures.items() if name != "layers"}
    stored = {row.name: row.n for row in exported.tensors}
    assert sum(stored.values()) < document["sparsity"]["n_prunable"]
    plain = build_graph(
        network,
        PreprocessSettings(height=SIZE, width=SIZE),
        in_channels=3,
        remove_dead_channels=False,
        metadata=exported.metadata,
    )
    assert exported.dense_size_bytes == plain.dense_size_bytes


def test_the_network_is_not_changed(tmp_path: Path) -> None:
    model = tiny_network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_small(tmp_path / "m.onnx", model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_full_size_network_at_90_percent_takes_less_than_a_ninth(tmp_path: Path) -> None:
    model = build_model(ModelConfig(features=32), seed=0).eval()
    make_mask(model, "global_magnitude", 0.9).apply_(model)
    # Every channel stays: an untrained network prunes to one that is mostly dead.
    built = build_graph(model, PreprocessSettings(height=32, width=32), in_channels=3, remove_dead_channels=False)
    assert built.dense_size_bytes == pytest.approx(31.05e6, rel=0.01)
    assert built.model.ByteSize() == pytest.approx(3.44e6, rel=0.02)
    assert built.model.ByteSize() < built.dense_size_bytes / 9


def test_no_patient_stands_in_the_file(tmp_path: Path) -> None:
    history = ({"step": "train", "patients": ["TCGA_CS_0001"]},)
    result = export_small(tmp_path / "m.onnx", tiny_network(), small_artefact(history=history))
    assert b"TCGA" not in result.path.read_bytes()


def test_beyond_a_tolerance_nothing_is_left_and_an_older_file_stays(
    tmp_path: Path,
) -> None:
    network, config, message = tiny_network(), ExportConfig(logit_tolerance=1e-12, dice_tolerance=0.01), "logits by"
    target = tmp_path / "exports" / "m.onnx"
    volumes = [small_volume()]
    with pytest.raises(UserError, match=message) as caught:
        export_model(network, small_artefact(), config, parity_volumes=volumes, out_path=target)
    assert "export.logit_tolerance" in str(caught.value)
    assert list(target.parent.iterdir()) == []
    target.write_bytes(b"older")
    with pytest.raises(UserError, match=message):
        export_model(network, small_artefact(), config, parity_volumes=volumes, out_path=target)
    assert target.read_bytes() == b"older"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("values", ["fp16", "int8"])
def test_rounded_weights_pass_a_gate_of_their_own(tmp_path: Path, values: Values) -> None:
    network, target = tiny_network(), tmp_path / "m.onnx"
    loose = ExportConfig(values=values, logit_tolerance=1e-12, lossy_dice_tolerance=0.1, lossy_voxel_tolerance=0.1)
    volumes = [small_volume()]
    result = export_model(network, small_artefact(), loose, parity_volumes=volumes, out_path=target)
    assert {row.values for row in result.tensors} == {values}
    assert 1e-12 < result.parity.largest_logit_difference < 1
    assert result.to_dict()["parity"]["differing_share"] == result.parity.differing_share


def test_rounding_that_changes_masks_leaves_the_older_file(tmp_path: Path) -> None:
    network, target, volume = tiny_network(), tmp_path / "m.onnx", small_volume()
    probability_SHW = torch_predictor(network, PreprocessSettings(height=SIZE, width=SIZE))(volume.image_SHWC)
    crowded = float(np.quantile(probability_SHW[probability_SHW != np.median(probability_SHW)], 0.5))
    strict = ExportConfig(values="int8", lossy_dice_tolerance=1e-12, lossy_voxel_tolerance=1e-12)
    target.write_bytes(b"older")
    with pytest.raises(UserError, match=r"stored as int8 change the network.*Use --values fp16"):
        export_model(network, small_artefact(threshold=crowded), strict, parity_volumes=[volume], out_path=target)
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    model = tiny_network()
    with torch.no_grad():
        next(iter(prunable_parameters(model).values())).view(-1)[0] = float("nan")
    with pytest.raises(UserError, match="nan"):
        export_small(tmp_path / "m.onnx", model)
    assert list(tmp_path.iterdir()) == []


def test_without_volumes_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no volumes"):
        export_model(tiny_network(), small_artefact(), ExportConfig(), parity_volumes=[], out_path=tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_runtime_answers_as_evaluation_through_pytorch_does(network: nn.Module, exported: ExportResult) -> None:
    volume = small_volume(seed=7, n_slices=9)
    expected_SHW = torch_predictor(network, exported.metadata.preprocess)(volume.image_SHWC)
    segmenter = Segmenter.from_file(exported.path, threads=1)
    np.testing.assert_allclose(segmenter.probability(volume.image_SHWC), expected_SHW, atol=1e-4)
    far_SHW = np.abs(expected_SHW - 0.5) > 1e-4
    np.testing.assert_array_equal(segmenter.mask(volume.image_SHWC)[far_SHW], binarise(expected_SHW, 0.5)[far_SHW])
