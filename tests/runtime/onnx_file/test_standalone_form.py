"""A standalone file is for other programs: whoever gives it to ours is told so, and which file to take."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.runtime.test_infer import write_slices
from wcr_med.errors import UserError
from wcr_med.export.standalone import build_standalone
from wcr_med.runtime import Segmenter, session
from wcr_med.runtime.bench import bench
from wcr_med.runtime.info import describe
from wcr_med.runtime.info_text import info_text

_COMMAND = "from wcr_med.cli import main; main()"


@pytest.fixture(scope="module")
def standalone(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("standalone") / "tiny.standalone.onnx"
    onnx.save(build_standalone(onnx.load(model_file), describe(model_file).metadata), path)
    return path


@pytest.mark.parametrize("opened", [Segmenter.from_file, session, bench])
def test_it_is_called_by_its_name(standalone: Path, opened: Callable[[Path], object]) -> None:
    with pytest.raises(UserError) as caught:
        opened(standalone)
    message = str(caught.value)
    assert message.startswith(f"{standalone}: a standalone file, for programs without this package; ")
    assert "give the portable file of the same run, tiny.onnx, which `wcr-med export` writes beside it" in message


def test_under_another_name(standalone: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(standalone.read_bytes())
    with pytest.raises(UserError, match=r"a standalone file, .* the same run, NAME\.onnx, which"):
        Segmenter.from_file(path)


def test_the_portable_file_beside_a_standalone_one_is_no_other_than_before(model_file: Path) -> None:
    assert describe(model_file).kind == "portable"
    Segmenter.from_file(model_file, threads=1).close()


def test_the_command_says_it_and_writes_nothing(standalone: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "in" / "p1", ["s1.png"])
    arguments = ["infer", str(standalone), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "a standalone file, for programs without this package" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_what_it_holds_is_told(standalone: Path) -> None:
    found = describe(standalone)
    assert (found.kind, found.outputs) == ("standalone", ("mask", "probability"))
    assert "takes the portable or the accelerated file" in info_text(found)
