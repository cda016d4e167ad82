"""One changed byte in any file that a command reads is noticed: refused, told of, or of no meaning."""

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wcr_med import files
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.files import read_json
from wcr_med.models import build_model
from wcr_med.pruning import Mask
from wcr_med.stages.networks import open_model
from wcr_med.stages.report import collect_inputs
from wcr_med.stages.side_by_side import _load
from wcr_med.stages.workspace import Workspace, open_workspace, save_config
from wcr_med.training.checkpoint import load_checkpoint, require_weights

_LOG = logging.getLogger("wcr_med")
_UNREAD = (
    ".lock", "figures/", "summary.md", "report/report.html", "report/masks/", "report/per_", "train/history.csv",
    "train/regularizer_terms.csv", "train/tensorboard/", "train/state.previous",  # read where the newer one is damaged
    "evaluation/pruned-90-onnx/", ".done/evaluate-pruned-90-onnx", ".done/train", ".done/pruned-90",
    ".done/export-dense", ".done/export-pruned",
)  # fmt: skip
"""What no command reads, or `run` alone, which makes it again."""


def _readers(out: Path) -> list[Callable[[], object]]:
    def report() -> None:
        collect_inputs(open_workspace(out, config_path=None))

    def networks() -> None:
        workspace = open_workspace(out, config_path=None)
        for path in (out / "models").glob("*.safetensors"):
            if ".mask" in path.name:
                Mask.load(path, build_model(workspace.config.model, seed=0))
            else:
                open_model(workspace, path.stem)

    def training() -> None:
        load_checkpoint(out / "train", _LOG)
        for name in ("best", "last"):
            require_weights(out / "train" / f"{name}.safetensors")

    def records() -> None:
        Split.load(out / "split.json")
        for path in (*out.glob("*.json"), *out.glob("*/*.json")):
            read_json(path)

    return [report, lambda: _load(out, None, name="a"), networks, training, records]


@pytest.mark.slow
def test_every_changed_byte_is_noticed(
    finished: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    save_config(Workspace(out=out, config=finished.config))
    readers = _readers(out)
    rng = random.Random(0)
    silent = []
    with caplog.at_level(logging.INFO):
        for read in readers:
            read()
        assert not _told(caplog)
        for path in sorted(file for file in out.rglob("*") if file.is_file() and file.stat().st_size):
            name = path.relative_to(out).as_posix()
            if name.startswith(_UNREAD):
                continue
            content = path.read_bytes()
            digits = [place for place, letter in enumerate(content) if chr(letter).isdigit()]
            for place in (rng.choice(digits), rng.randrange(len(content))):
                changed = bytearray(content)
                changed[place] ^= 1
                path.write_bytes(changed)
                monkeypatch.setattr(files, "_noted", set())
                caplog.clear()
                if not any(map(_refuses, readers)) and not _told(caplog) and not _means_the_same(path, content):
                    silent.append((name, place))
            path.write_bytes(content)
    assert not silent


def _told(caplog: pytest.LogCaptureFixture) -> bool:
    return any(line.levelno >= logging.WARNING or "cannot be told" in line.getMessage() for line in caplog.records)


def _refuses(read: Callable[[], object]) -> bool:
    try:
        read()
    except UserError:
        return True
    return False


def _means_the_same(path: Path, content: bytes) -> bool:
    """A space that became another one, or a digit beyond what a number can hold."""
    if path.suffix != ".json":
        return False
    try:
        now = read_json(path)
        path.write_bytes(content)
        return bool(now == read_json(path))
    except UserError:
        return False
