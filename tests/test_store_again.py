"""Files in models/ follow the rule of storage without their run, and answer as before."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models import store_again as storing
from models.publish import describe
from tests.exported import export_small, small_network, small_volume
from wcr_med.export import dense_again, store
from wcr_med.export.standalone import build_standalone
from wcr_med.files import read_json, sha256_of_file, write_json
from wcr_med.onnx_file import read_contents
from wcr_med.runtime import Segmenter
from wcr_med.runtime.info import describe as read_info


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A network as an earlier version stored it: no checksum, a form that other programs cannot read."""
    path = tmp_path / "net.onnx"
    exported = export_small(path, small_network(features=4))
    model = store(exported.dense, "sparse_value").model
    onnx.save(model, path)
    onnx.save(build_standalone(model, exported.metadata), path.with_suffix(".standalone.onnx"))
    files = {"file": describe(path, path.name)}
    files["standalone"] = describe(path.with_suffix(".standalone.onnx"), "net.standalone.onnx")
    size = files["file"]["size_bytes"]
    write_json(path.with_suffix(".model_card.json"), {**files, "details": {"files": [{"size_bytes": size, "n": 1}]}})
    write_json(path.with_suffix(".metrics.json"), {"deployment": [{"size_bytes": size, "dense_bytes": 7}]})
    path.with_suffix(".md").write_text(f"SHA-256 `{files['file']['sha256']}`\n")
    return path


def test_the_files_and_their_card(older: Path) -> None:
    image_SHWC = small_volume().image_SHWC
    with Segmenter.from_file(older, threads=1) as segmenter:
        before, said = segmenter.probability(image_SHWC), segmenter.metadata
    assert storing.main([str(older)]) == 0
    with Segmenter.from_file(older, threads=1) as segmenter:
        assert np.array_equal(segmenter.probability(image_SHWC), before)
        assert segmenter.metadata == said
    standalone = older.with_suffix(".standalone.onnx")
    for path in (older, standalone):
        assert read_contents(path).sha256 is not None
        layers = read_info(path).layers
        assert layers is not None
        assert {layer.storage for layer in layers} <= {"dense", "gap8", "rice"}
    card = read_json(older.with_suffix(".model_card.json"))
    assert card["file"] == describe(older, older.name)
    assert card["standalone"] == describe(standalone, standalone.name)
    size = older.stat().st_size
    assert card["details"] == {"files": [{"size_bytes": size, "n": 1}]}
    assert read_json(older.with_suffix(".metrics.json")) == {"deployment": [{"size_bytes": size, "dense_bytes": 7}]}
    assert sha256_of_file(older) in older.with_suffix(".md").read_text()
    content = {path.name: path.read_bytes() for path in older.parent.iterdir()}
    assert len(content) == 5
    assert storing.main([str(older)]) == 0  # again: nothing changes
    assert {path.name: path.read_bytes() for path in older.parent.iterdir()} == content


def test_nothing_is_written_where_an_answer_would_change(
    older: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoilt(model: onnx.ModelProto) -> onnx.ModelProto:
        found = dense_again(model)
        kernel = next(tensor for tensor in found.graph.initializer if len(tensor.dims) == 4)
        kernel.raw_data = np.full(tuple(kernel.dims), 0.1, np.float32).tobytes()
        return found

    monkeypatch.setattr(storing, "dense_again", spoilt)
    content = {path.name: path.read_bytes() for path in older.parent.iterdir()}
    assert storing.main([str(older)]) == 2
    assert "would answer otherwise; nothing was written" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in older.parent.iterdir()} == content
