from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wcr_med import native, runtime
from wcr_med.errors import UserError

_needs_accelerator = pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
_X = np.arange(-4, 5, dtype=np.float32).reshape(1, 1, 3, 3)


def _save(path: Path, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(native.DOMAIN, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def _portable(folder: Path) -> Path:
    return _save(folder / "portable.onnx", [helper.make_node("Relu", ["x"], ["y"])])


def _accelerated(folder: Path, opcode: int = 6) -> Path:
    """One operation, `activate`, with a ReLU."""
    node = helper.make_node(native.OPERATOR, ["x"], ["y"], domain=native.DOMAIN)
    words = [1, 1, opcode, 3, 0, 1, -1, 1, 1, 1]
    node.attribute.extend([helper.make_attribute("inputs", 1), helper.make_attribute("program", words)])
    return _save(folder / "net.accelerated.onnx", [node])


def test_portable_file_opens_with_or_without_the_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _portable(tmp_path)
    for _ in range(2):
        opened = runtime.session(path, threads=1)
        assert np.array_equal(opened.run(None, {"x": _X})[0], np.maximum(_X, 0))
        monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")


@_needs_accelerator
@pytest.mark.parametrize("threads", [None, 0, 1, 2])
def test_accelerated_file_opens_by_itself(tmp_path: Path, threads: int | None) -> None:
    opened = runtime.session(str(_accelerated(tmp_path)), threads=threads)
    assert opened.get_providers() == ["CPUExecutionProvider"]
    assert np.array_equal(opened.run(None, {"x": _X})[0], np.maximum(_X, 0))


def test_accelerated_file_without_the_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")
    message = r"net\.accelerated\.onnx: an accelerated file, but the accelerator was not built .*use the portable model"
    with pytest.raises(UserError, match=message):
        runtime.session(_accelerated(tmp_path))


def test_library_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "broken.so"
    library.write_text("not a library")
    monkeypatch.setattr(native, "_LIBRARY", library)
    assert runtime.session(_portable(tmp_path)).get_inputs()
    with pytest.raises(UserError, match=r"an accelerated file, but the accelerator does not load here \(.*broken\.so"):
        runtime.session(_accelerated(tmp_path))


@_needs_accelerator
def test_damaged_accelerated_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"onnx: not a whole ONNX model \(operation 0, field opcode: 7 is not in"):
        runtime.session(_accelerated(tmp_path, opcode=7))


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        runtime.session(tmp_path / "none.onnx")
    path = _portable(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"portable\.onnx: not a whole ONNX model"):
        runtime.session(path)


def test_what_onnxruntime_refuses_is_one_line_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _portable(tmp_path)
    model = onnx.load(path)
    model.graph.output[0].name = "\x1b[2Jother"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"portable\.onnx: not a whole ONNX model \(.*other.*; copy it again") as caught:
        runtime.session(path)
    assert str(caught.value).isprintable()
    path.write_bytes(path.read_bytes().replace(b"[2Jother", b"[2Joth\xff\xfe"))
    with pytest.raises(UserError, match="not a whole ONNX model"):
        runtime.session(path)
    assert capfd.readouterr() == ("", "")


def test_library_for_integrators() -> None:
    assert runtime.get_library_path is native.get_library_path
