"""A standalone file finds what the portable file finds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from torch import nn

from tests.exported import export_small, open_session, small_artefact, small_volume, tiny_network
from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.export import ExportResult, standalone_of
from wcr_med.export.standalone.gate import StandaloneParity
from wcr_med.model_metadata import METADATA_KEY
from wcr_med.runtime import Segmenter


@pytest.fixture(scope="module")
def standalone(exported: ExportResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("standalone") / "small.standalone.onnx"
    standalone_of(exported.path, target, volumes=[small_volume(seed=1)], threads=1)
    return target


def test_result_says_what_was_written(exported: ExportResult, tmp_path: Path) -> None:
    volumes = [small_volume(seed=seed) for seed in (1, 2, 3)]
    result = standalone_of(exported.path, tmp_path / "a.onnx", volumes=iter(volumes), n_slices=8, threads=1)
    assert result.size_bytes == (tmp_path / "a.onnx").stat().st_size
    assert result.size_bytes - result.portable_size_bytes < 20_000
    parity = result.parity
    assert (parity.n_slices, parity.n_patients, parity.n_voxels) == (12, 2, 12 * 40 * 40)
    assert parity.n_differing_voxels == 0 < parity.n_lesion_voxels < parity.n_voxels
    assert parity.largest_probability_difference < 1e-5
    assert result.to_dict()["parity"]["n_differing_voxels"] == 0


def test_file_is_its_own_description(exported: ExportResult, standalone: Path) -> None:
    model, portable = onnx.load(standalone), onnx.load(exported.path)
    assert list(model.metadata_props)[:-1] == list(portable.metadata_props)[:-1]  # but for the checksum
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18}
    session = open_session(standalone)
    assert [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())] == [
        ("image", "tensor(uint8)", ["slices", "rows", "columns", 3]),
        ("mask", "tensor(uint8)", ["slices", "rows", "columns"]),
        ("probability", "tensor(float)", ["slices", "rows", "columns"]),
    ]
    assert METADATA_KEY in session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize(
    ("n_slices", "size"),
    [(1, 40), (3, 33), (9, 100), (2, 1)],
)
def test_masks_are_those_of_the_runtime(exported: ExportResult, standalone: Path, n_slices: int, size: int) -> None:
    image_SHWC = small_volume(n_slices=n_slices, size=size, seed=7).image_SHWC[:, :, : max(1, size - 7)]
    segmenter = Segmenter.from_file(exported.path, threads=1)
    mask_SHW, probability_SHW = open_session(standalone).run(["mask", "probability"], {"image": image_SHWC})
    expected_SHW = segmenter.probability(image_SHWC)
    np.testing.assert_allclose(probability_SHW, expected_SHW, atol=1e-5)
    np.testing.assert_array_equal(mask_SHW, segmenter.binarise(expected_SHW))
    assert mask_SHW.dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    artefact = small_artefact(model_config=ModelConfig(features=2, in_channels=channels).model_dump(mode="json"))
    volumes = [small_volume(seed=seed, channels=channels) for seed in (1, 2)]
    from wcr_med.config import ExportConfig
    from wcr_med.export import export_model

    portable = export_model(
        tiny_network(channels),
        artefact,
        ExportConfig(parity_slices=8, dice_tolerance=0.01),
        parity_volumes=volumes,
        out_path=tmp_path / "portable.onnx",
    )
    result = standalone_of(portable.path, tmp_path / "standalone.onnx", volumes=volumes, threads=1)
    assert result.parity.n_differing_voxels == 0


@pytest.mark.parametrize("storage", ["dense", "gap8"])
def test_any_storage(network: nn.Module, storage: str, tmp_path: Path) -> None:
    portable = export_small(tmp_path / "portable.onnx", network, storage=storage)  # type: ignore[arg-type]
    result = standalone_of(portable.path, tmp_path / "alone.onnx", volumes=[small_volume(seed=4)], threads=1)
    assert result.size_bytes - result.portable_size_bytes < 20_000


@pytest.mark.parametrize(("rows", "columns"), [(50, 50), (48, 40), (100, 90), (40, 48)])
def test_openvino_reads_it(exported: ExportResult, standalone: Path, rows: int, columns: int) -> None:
    image_SHWC = small_volume(n_slices=4, size=max(rows, columns), seed=8).image_SHWC[:, :rows, :columns].copy()
    compiled = openvino.Core().compile_model(str(standalone), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(image_SHWC)
    segmenter = Segmenter.from_file(exported.path, threads=1)
    expected_SHW = segmenter.probability(image_SHWC)
    np.testing.assert_allclose(results[compiled.output("probability")], expected_SHW, atol=1e-4)
    certain_SHW = np.abs(expected_SHW - segmenter.metadata.threshold) > 1e-4
    mask_SHW = results[compiled.output("mask")]
    np.testing.assert_array_equal(mask_SHW[certain_SHW], segmenter.binarise(expected_SHW)[certain_SHW])


def test_a_file_that_differs_is_not_written(
    exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wcr_med.export.standalone.framing.MARGIN", 0.3)
    target = tmp_path / "other.onnx"
    target.write_text("older")
    with pytest.raises(UserError, match="differs from the portable one: probabilities by"):
        standalone_of(exported.path, target, volumes=[small_volume(seed=1)], threads=1)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"largest_probability_difference": float("nan")}, "probabilities by nan"),
        ({"n_differing_voxels": 1}, "in 1 of 10 voxels, 0 are allowed"),
    ],
)
def test_gate_refuses(change: dict[str, float], message: str) -> None:
    report = StandaloneParity(
        largest_probability_difference=1e-7,
        n_differing_voxels=0,
        n_voxels=10,
        n_lesion_voxels=3,
        n_slices=1,
        n_patients=1,
    )
    report.require(tolerance=1e-5, n_voxels=0)
    with pytest.raises(UserError, match=message):
        replace(report, **change).require(tolerance=1e-5, n_voxels=0)  # type: ignore[arg-type]


def test_bad_input_is_told_in_a_line(exported: ExportResult, standalone: Path, tmp_path: Path) -> None:
    def attempt(path: Path = exported.path, *volumes: object, target: Path = tmp_path / "x.onnx") -> None:
        standalone_of(path, target, volumes=volumes, threads=1)  # type: ignore[arg-type]

    volume = small_volume(seed=1)
    with pytest.raises(UserError, match="no such file"):
        attempt(tmp_path / "absent.onnx", volume)
    with pytest.raises(UserError, match="at least one patient"):
        attempt()
    with pytest.raises(UserError, match="TCGA_FG_0001: images of float32, but a standalone file takes raw 8-bit"):
        attempt(exported.path, replace(volume, image_SHWC=volume.image_SHWC.astype(np.float32)))
    with pytest.raises(UserError, match="has 2 channels, the network takes 3"):
        attempt(exported.path, replace(volume, image_SHWC=volume.image_SHWC[..., :2]))
    with pytest.raises(UserError, match="graph inputs and outputs are image, mask, probability; give a portable"):
        attempt(standalone, volume)
    with pytest.raises(UserError, match="would replace the portable file"):
        attempt(exported.path, volume, target=exported.path)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported.path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"broken\.onnx: not a whole ONNX model"):
        attempt(broken, volume)
    assert not (tmp_path / "x.onnx").exists()
