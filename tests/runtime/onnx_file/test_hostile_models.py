"""Model files that nobody vouches for: one line each, before ONNX Runtime gets them, in little memory."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import onnx
import pytest

from tests.exported import sealed
from tests.runtime.onnx_file.hostile import HOSTILE
from wcr_med.errors import UserError
from wcr_med.onnx_file import read_contents
from wcr_med.runtime import Segmenter, segmenter

_COMMAND = "from wcr_med.cli import main; main()"
_OPEN_ALL = """
import resource, sys
from pathlib import Path
from wcr_med.errors import UserError
from wcr_med.runtime import Segmenter
Segmenter.from_file(sys.argv[1], threads=1)  # what opening takes at all is there now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 128 * 2**20,) * 2)
for path in sorted(Path(sys.argv[2]).iterdir()):
    try:
        Segmenter.from_file(path, threads=1)
    except UserError as error:
        print("refused", path.name)
"""


@pytest.fixture(scope="module")
def hostile(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, (change, _) in HOSTILE.items():
        model = onnx.load(model_file)
        change(model)
        (folder / f"{name.replace(' ', '_')}.onnx").write_bytes(sealed(model))
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_each_is_one_line_and_onnxruntime_never_sees_it(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("ONNX Runtime got the file")

    monkeypatch.setattr(segmenter, "open_checked", opened)
    path = hostile / f"{name.replace(' ', '_')}.onnx"
    with pytest.raises(UserError) as caught:
        Segmenter.from_file(path)
    message = str(caught.value)
    assert HOSTILE[name][1] in message
    assert message.startswith(f"{path}: ")
    assert "; " in message, "no remedy"
    assert len(message) < 500 + len(str(path))
    assert message.isprintable()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_all_of_them_in_bounded_memory(hostile: Path, model_file: Path) -> None:
    command = [sys.executable, "-c", _OPEN_ALL, str(model_file), str(hostile)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.count("refused") == len(HOSTILE)


def test_the_command_says_it_and_fails(hostile: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = hostile / "outer_sum.onnx"
    command = [sys.executable, "-c", _COMMAND, "infer", str(path), str(tmp_path / "in"), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "outer_sum.onnx: refused for the memory" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # a hole: takes no disk
    with pytest.raises(UserError, match=r"large\.onnx: 1099511627776 bytes, and model files have at most"):
        read_contents(path)


NO_MESSAGES = {
    "many fields": b"\x08\x0a" * 600_000 * 2,
    "long field": b"\x3a\xff\xff\xff\xff\x0f",
    "endless number": b"\x08" + b"\xff" * 20,
    "groups": b"\x3b\x3b",
    "field 0": b"\x00\x00",
    "field beyond its message": b"\x3a\x02\x2a\x05",
}


@pytest.mark.parametrize("content", NO_MESSAGES.values(), ids=NO_MESSAGES.keys())
def test_bytes_that_are_no_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.onnx: not a whole ONNX model \("):
        read_contents(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.onnx").write_bytes(b"1")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"mine\.onnx: cannot be read \(Permission denied\)"):
        read_contents(tmp_path / "mine.onnx")


def test_reading_keeps_nothing_of_the_weights(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", dims=[2**23], data_type=onnx.TensorProto.FLOAT, raw_data=bytes(2**25))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))
    path = tmp_path / "large.onnx"
    path.write_bytes(model.SerializeToString())
    tracemalloc.start()
    contents = read_contents(path)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**20
    assert most < path.stat().st_size + 2**20
    assert (contents.n_initializers, contents.declared_elements) == (1, 2**23)
    assert contents.size_bytes == path.stat().st_size
