"""A model file that was damaged or rewritten is refused by every door, in one line."""

import hashlib
import logging
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from tests.exported import sealed
from wcr_med.cli import app
from wcr_med.errors import UserError
from wcr_med.export.standalone import build_standalone
from wcr_med.onnx_file import CHECKSUM_KEY, SEAL_BYTES, read_contents, seal, seal_file, unsealed
from wcr_med.onnx_file.checksum import _TAIL_BYTES, PROMISE_KEY
from wcr_med.runtime import Segmenter, session
from wcr_med.runtime import segmenter as segmenter_module
from wcr_med.runtime.bench import bench
from wcr_med.runtime.info import describe

N_FLIPS = 200


def flipped(content: bytes, bit: int) -> bytes:
    place = bit // 8
    return content[:place] + bytes([content[place] ^ (1 << bit % 8)]) + content[place + 1 :]


def test_the_last_bytes_are_the_checksum_of_those_before(model_file: Path) -> None:
    content = model_file.read_bytes()
    expected = hashlib.sha256(content[:-_TAIL_BYTES]).hexdigest()
    assert content.endswith(expected.encode())
    properties = [(entry.key, entry.value) for entry in onnx.load(model_file).metadata_props]
    assert properties[-1] == (CHECKSUM_KEY, expected)
    assert properties[-2][0] == PROMISE_KEY
    assert read_contents(model_file).sha256 == expected
    assert describe(model_file).sha256 == expected
    loaded = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])  # as any runtime does
    assert loaded.get_modelmeta().custom_metadata_map[CHECKSUM_KEY] == expected
    onnx.checker.check_model(model_file, full_check=True)


def test_sealing_keeps_all_else_and_can_be_undone(model_file: Path) -> None:
    content = model_file.read_bytes()
    plain = unsealed(content)
    assert len(content) == len(plain) + SEAL_BYTES
    assert seal(plain) == seal(content) == content
    assert unsealed(plain) == plain


@pytest.fixture
def never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("ONNX Runtime got the file")

    monkeypatch.setattr(segmenter_module, "open_checked", opened)


@pytest.mark.usefixtures("never_run")
def test_every_flipped_bit_is_noticed(model_file: Path, tmp_path: Path) -> None:
    content, drawn = model_file.read_bytes(), random.Random(0)
    n_bits = 8 * len(content)
    bits = {drawn.randrange(n_bits) for _ in range(N_FLIPS)}
    bits |= set(range(n_bits - 8 * SEAL_BYTES, n_bits))  # the checksum and the promise of it, bit by bit
    bad = tmp_path / "bad.onnx"
    for bit in sorted(bits):
        bad.write_bytes(flipped(content, bit))
        with pytest.raises(UserError) as caught:
            Segmenter.from_file(bad)
        message = str(caught.value)
        assert message.startswith(f"{bad}: "), bit
        assert message.isprintable(), bit


@pytest.mark.usefixtures("never_run")
def test_every_changed_byte_of_a_range_and_every_cut_is_noticed(model_file: Path, tmp_path: Path) -> None:
    content, drawn = model_file.read_bytes(), random.Random(1)
    bad = tmp_path / "bad.onnx"
    places = [drawn.randrange(len(content)) for _ in range(100)]
    for changed in (
        *(
            content[:place] + bytes([content[place] ^ drawn.randrange(1, 256)]) + content[place + 1 :]
            for place in places
        ),
        *(content[:place] + bytes(64) + content[place + 64 :] for place in places[:30]),
        *(content[:place] + content[place + 1 :] for place in places[:30]),
        *(content[:-cut] for cut in range(1, SEAL_BYTES + 1, 7)),
        content[:-_TAIL_BYTES],
        content + content[-_TAIL_BYTES:],
    ):
        if changed == content:
            continue  # 64 zeros there already
        bad.write_bytes(changed)
        with pytest.raises(UserError):
            Segmenter.from_file(bad)


DOORS: dict[str, Callable[[Path], object]] = {
    "Segmenter": lambda path: Segmenter.from_file(path, threads=1),
    "session": lambda path: session(path, threads=1),
    "info": describe,
    "bench": bench,
    "read_contents": read_contents,
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door(model_file: Path, tmp_path: Path, door: str) -> None:
    bad = tmp_path / "bad.onnx"
    content = model_file.read_bytes()
    bad.write_bytes(flipped(content, 4 * len(content)))
    with pytest.raises(
        UserError, match=r"bad\.onnx: not the ONNX file .*copy it again or export .*onnx_file seal FILE"
    ):
        DOORS[door](bad)


def test_the_commands(model_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    content = model_file.read_bytes()
    bad.write_bytes(flipped(content, 4 * len(content)))
    (tmp_path / "in").mkdir()
    for arguments in (
        ["infer", str(bad), str(tmp_path / "in"), "-o", str(tmp_path / "out")],
        ["info", str(bad)],
        ["bench", str(bad)],
        ["bench", str(model_file), "--against", str(bad)],
    ):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, UserError), arguments  # which `main` makes one line and exit code 2
        assert "checksum is not that of its content" in str(result.exception), arguments
    assert not (tmp_path / "out").exists()


def test_a_standalone_file_too(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.standalone.onnx"
    path.write_bytes(sealed(build_standalone(onnx.load(model_file), describe(model_file).metadata)))
    assert describe(path).kind == "standalone"
    path.write_bytes(flipped(path.read_bytes(), 100_000))
    with pytest.raises(UserError, match="checksum"):
        describe(path)


def test_an_older_file_opens_and_the_log_says_what_it_lacks(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old.onnx"
    old.write_bytes(unsealed(model_file.read_bytes()))
    with caplog.at_level(logging.INFO, "wcr_med"), Segmenter.from_file(old, threads=1):
        assert "old.onnx: holds no checksum" in caplog.text
    assert describe(old).sha256 is None
    assert "none: damage may go unnoticed" in CliRunner().invoke(app, ["info", str(old)]).output
    assert "right (" in CliRunner().invoke(app, ["info", str(model_file)]).output


def test_a_file_that_another_program_rewrote_needs_a_new_checksum(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "rewritten.onnx"
    model = onnx.load(model_file)
    model.graph.name = "renamed"
    onnx.save(model, path)
    with pytest.raises(UserError, match="another program rewrote"):
        Segmenter.from_file(path)
    model.metadata_props.insert(0, model.metadata_props.pop())  # the checksum is no longer the last entry
    onnx.save(model, path)
    with pytest.raises(UserError, match="its checksum is not at its end"):
        Segmenter.from_file(path)
    command = [sys.executable, "-m", "wcr_med.onnx_file", "seal", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Segmenter.from_file(path, threads=1) as mended, Segmenter.from_file(model_file, threads=1) as original:
        image_SHWC = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3)).astype(np.uint8)
        assert np.array_equal(mended.probability(image_SHWC), original.probability(image_SHWC))
    assert onnx.load(path).graph.name == "renamed"


def test_sealing_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.onnx: cannot be read"):
        seal_file(tmp_path / "none.onnx")
    path = tmp_path / "text.onnx"
    path.write_text("hello\n")
    with pytest.raises(UserError, match=r"text\.onnx: not a whole ONNX model"):
        seal_file(path)
    assert path.read_text() == "hello\n"
    command = [sys.executable, "-m", "wcr_med.onnx_file", "seal", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_replaced_between_the_check_and_onnxruntime(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "m.onnx", tmp_path / "other.onnx"
    shutil.copyfile(model_file, path)
    model = onnx.load(model_file)
    model.producer_version = "other"
    other.write_bytes(sealed(model))
    checked = segmenter_module.require_openable

    def replace(*arguments: object) -> None:
        checked(*arguments)  # type: ignore[arg-type]
        shutil.copyfile(other, path)

    monkeypatch.setattr(segmenter_module, "require_openable", replace)
    with pytest.raises(UserError, match=r"m\.onnx: was replaced while it was opened"):
        Segmenter.from_file(path, threads=1)
