"""What export writes, the runtime opens; else nothing is written, and one line says why."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from torch import nn

from tests.exported import SIZE, export_small, small_artefact, small_volume
from wcr_med import native
from wcr_med.config import ExportConfig
from wcr_med.errors import UserError
from wcr_med.export import ExportResult, build_graph, export_accelerated, export_quantised, loadable
from wcr_med.export.loadable import require_loadable
from wcr_med.export.metadata import build_metadata
from wcr_med.onnx_file import budget, check, reader
from wcr_med.preprocess import PreprocessSettings
from wcr_med.runtime import Segmenter

QUICK = ExportConfig(parity_slices=4, accelerate_rounds=1)


def quantised(network: nn.Module, exported: ExportResult, target: Path) -> object:
    return export_quantised(
        network,
        small_artefact(),
        QUICK,
        portable=exported.path,
        calibration_volumes=[small_volume(seed=3)],
        parity_volumes=lambda: [small_volume(seed=1)],
        out_path=target,
    )


def accelerated(_network: nn.Module, exported: ExportResult, target: Path) -> object:
    return export_accelerated(exported.path, QUICK, parity_volumes=[small_volume(seed=1)], out_path=target)


def again(network: nn.Module, _exported: ExportResult, target: Path) -> object:
    return export_small(target, network)


Writer = Callable[[nn.Module, ExportResult, Path], object]


@pytest.mark.parametrize("write", [again, quantised], ids=["portable", "int8"])
def test_a_network_that_would_take_too_much_memory(
    network: nn.Module, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"an older file")
    monkeypatch.setattr(budget, "constant_limit", lambda _size_bytes: 100)
    with pytest.raises(UserError) as caught:
        write(network, exported, tmp_path / "net.onnx")
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'net.onnx'}: not written, since `wcr-med infer` would not take it: refused for the memory"
    )
    assert "; if the weights take it, export with --storage dense" in message
    assert "if a slice does, make the grid smaller" in message
    assert message.endswith("or train a smaller network, or another one (model.name, model.features, model.encoder)")
    assert "\n" not in message
    assert "give a file that" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"an older file"


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
def test_an_accelerated_file_is_checked_or_is_a_copy(
    network: nn.Module, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr("wcr_med.export.accelerated.require_loadable", lambda *_, target: checked.append(target))
    accelerated(network, exported, tmp_path / "fast.onnx")
    is_copy = (tmp_path / "fast.onnx").read_bytes() == exported.path.read_bytes()
    assert checked == ([] if is_copy else [tmp_path / "fast.onnx"])


def test_a_file_that_is_too_large(
    network: nn.Module, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reader, loadable):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="; prune further, export with --storage rice, or train a smaller network"):
        again(network, exported, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operator_that_the_runtime_does_not_take(
    exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {name: rule for name, rule in check.RULES.items() if name != "Conv"}
    monkeypatch.setattr(check, "RULES", without)
    with pytest.raises(
        UserError, match=r"x\.onnx: not written, .* 'Conv', which no network of ours has; train a smaller"
    ):
        require_loadable(exported.path, exported.metadata, target=tmp_path / "x.onnx")


@pytest.mark.parametrize(("storage", "values"), [("sparse_value", "fp16"), ("rice", "int8")])
def test_what_passes_is_opened(network: nn.Module, tmp_path: Path, storage: str, values: str) -> None:
    settings = PreprocessSettings(height=SIZE, width=SIZE)
    metadata = build_metadata(network, small_artefact())
    built = build_graph(network, settings, in_channels=3, storage=storage, values=values, metadata=metadata)  # type: ignore[arg-type]
    path = tmp_path / "net.onnx"
    onnx.save(built.model, path)
    require_loadable(path, metadata, target=path)
    Segmenter.from_file(path, threads=1).close()
