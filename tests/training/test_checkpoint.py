"""State files: what comes back, what is refused, what survives a full disk."""

import errno
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from wcr_med.config import OptimizerConfig
from wcr_med.errors import UserError
from wcr_med.optimizers import build_optimizer
from wcr_med.training.checkpoint import (
    PREVIOUS_NAME,
    STATE_NAME,
    load_checkpoint,
    load_weights_,
    require_weights,
    save_checkpoint,
    save_weights,
)
from wcr_med.training.progress import EpochRow, Progress

_LOG = logging.getLogger("test")
_FINGERPRINT = {"seed": 3, "optimizer": {"name": "sgd", "momentum": 0.9}}


def _network(width: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))


def _stepped(name: str = "sgd", seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = _network(seed=seed).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, OptimizerConfig.model_validate({"name": name}))
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 2, 8, 8)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def _progress(epochs: int = 1) -> Progress:
    progress = Progress()
    for number in range(1, epochs + 1):
        row = EpochRow(
            epoch=number, loss=1 / 3, regularizer=0.1, learning_rate=0.1, weight_norm=2.0, dice_patient=None,
            f1_pooled=0.3, images_per_second=10.0, seconds=1.5,
        )  # fmt: skip
        progress.note(row, {"0.weight": 0.1}, validated=True)
    return progress


def _write_damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _write_foreign(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.ones(2)}, path)


def _write_later_schema(path: Path) -> None:
    document = {"schema_version": 99}
    safetensors.torch.save_file({"weight": torch.ones(2)}, path, {"wcr_med_training": json.dumps(document)})


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_everything_comes_back_exactly(tmp_path: Path, name: str) -> None:
    model, optimizer = _stepped(name)
    save_checkpoint(tmp_path, model, optimizer, _progress(2), _FINGERPRINT)
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    assert checkpoint.progress == _progress(2)
    assert checkpoint.fingerprint == _FINGERPRINT

    other, other_optimizer = _stepped(name, seed=1)
    checkpoint.restore(other, other_optimizer)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key])
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    for index, slots in before.items():
        for slot, value in slots.items():
            assert torch.equal(value, after[index][slot])
            if value.ndim == 4:
                assert after[index][slot].is_contiguous(memory_format=torch.channels_last)


def test_the_state_before_is_kept(tmp_path: Path) -> None:
    model, optimizer = _stepped()
    for epochs in (1, 2, 3):
        save_checkpoint(tmp_path, model, optimizer, _progress(epochs), _FINGERPRINT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS_NAME, STATE_NAME]
    (tmp_path / STATE_NAME).unlink()
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    assert checkpoint.progress.epochs_done == 2


def test_an_empty_folder_has_no_state(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, _LOG) is None


@pytest.mark.parametrize("damage", [_write_damaged, _flip_a_bit, _write_foreign, _write_later_schema])
def test_damage_is_seen_and_the_state_before_taken(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = _stepped()
    save_checkpoint(tmp_path, model, optimizer, _progress(1), _FINGERPRINT)
    save_checkpoint(tmp_path, model, optimizer, _progress(2), _FINGERPRINT)
    damage(tmp_path / STATE_NAME)
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    assert checkpoint.progress.epochs_done == 1
    assert f"{tmp_path / STATE_NAME}: damaged" in caplog.text
    damage(tmp_path / PREVIOUS_NAME)
    with pytest.raises(UserError, match="no earlier state is whole; delete the folder"):
        load_checkpoint(tmp_path, _LOG)


def test_a_full_disk_is_named_and_harms_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = _stepped()
    save_checkpoint(tmp_path, model, optimizer, _progress(1), _FINGERPRINT)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_checkpoint(tmp_path, model, optimizer, _progress(2), _FINGERPRINT)
    with pytest.raises(UserError, match="the disk is full"):
        save_weights(tmp_path / "best.safetensors", model)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_NAME]
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    assert checkpoint.progress.epochs_done == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_network(width=5), r"tensor 0\.weight is 4x2x3x3 in the file and 5x2x3x3 in the network"),
        (nn.Sequential(nn.Conv2d(2, 4, 3)), r"tensor 1\.bias is 4 in the file and absent in the network"),
        (nn.Sequential(*_network(), nn.Conv2d(1, 1, 1)), r"tensor 3\.weight is absent in the file and 1x1x1x1"),
    ],
)
def test_another_network_is_refused_by_its_first_tensor(tmp_path: Path, other: nn.Module, message: str) -> None:
    model, optimizer = _stepped()
    save_checkpoint(tmp_path, model, optimizer, _progress(), _FINGERPRINT)
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    with pytest.raises(UserError, match=message):
        checkpoint.restore(other, build_optimizer(other, OptimizerConfig()))


def test_optimizer_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    model, optimizer = _stepped()
    save_checkpoint(tmp_path, model, optimizer, _progress(), _FINGERPRINT)
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    checkpoint.optimizer["0.weight/momentum_buffer"] = torch.zeros(3)
    with pytest.raises(UserError, match=r"0\.weight has no such state"):
        checkpoint.restore(model, optimizer)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"seed": 4, "optimizer": _FINGERPRINT["optimizer"]}, "began with seed 3, now it is 4; set it back"),
        ({"seed": 3, "optimizer": {"name": "sgd"}}, r"began with optimizer\.momentum 0\.9, now it is not there"),
        ({**_FINGERPRINT, "split": "x"}, "began with split not there, now it is x"),
        ({**_FINGERPRINT, "data": "x"}, "images or masks have changed"),
    ],
)
def test_other_settings_are_named(tmp_path: Path, now: dict[str, Any], message: str) -> None:
    model, optimizer = _stepped()
    save_checkpoint(tmp_path, model, optimizer, _progress(), _FINGERPRINT)
    checkpoint = load_checkpoint(tmp_path, _LOG)
    assert checkpoint is not None
    checkpoint.check_fingerprint(_FINGERPRINT)
    with pytest.raises(UserError, match=message):
        checkpoint.check_fingerprint(now)


def test_weights_alone_come_back_and_a_wrong_file_is_named(tmp_path: Path) -> None:
    model, _ = _stepped()
    save_weights(tmp_path / "best.safetensors", model)
    other = _network(seed=1)
    load_weights_(tmp_path / "best.safetensors", other)
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in model.state_dict().items())
    with pytest.raises(UserError, match=r"none\.safetensors: cannot be read"):
        load_weights_(tmp_path / "none.safetensors", other)
    with pytest.raises(UserError, match=r"best\.safetensors: cannot be read"):
        load_weights_(tmp_path / "best.safetensors", _network(width=5))
    _write_damaged(tmp_path / "best.safetensors")
    with pytest.raises(UserError, match=r"best\.safetensors: cannot be read"):
        load_weights_(tmp_path / "best.safetensors", other)


def test_a_changed_progress_is_noticed_as_damaged_tensors_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, optimizer = _stepped()
    for epochs in (1, 2):
        save_checkpoint(tmp_path, model, optimizer, _progress(epochs), _FINGERPRINT)
    path = tmp_path / STATE_NAME
    path.write_bytes(path.read_bytes().replace(b'\\"best_epoch\\": 1', b'\\"best_epoch\\": 2'))
    found = load_checkpoint(tmp_path, _LOG)
    assert found is not None
    assert found.path.name == PREVIOUS_NAME
    assert "its SHA-256 does not fit" in caplog.text


def test_a_state_of_schema_1_opens_and_its_damage_is_seen(tmp_path: Path) -> None:
    tensors = {"model.weight": torch.ones(2)}
    digest = hashlib.sha256(b"model.weight" + tensors["model.weight"].numpy().tobytes()).hexdigest()
    document = {"schema_version": 1, "fingerprint": {}, "progress": _progress().to_dict(), "sha256": digest}
    path = tmp_path / STATE_NAME
    path.write_bytes(safetensors.torch.save(tensors, {"wcr_med_training": json.dumps(document)}))
    found = load_checkpoint(tmp_path, _LOG)
    assert found is not None
    assert torch.equal(found.model["weight"], torch.ones(2))
    path.write_bytes(path.read_bytes()[:-1] + b"\x41")
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path, _LOG)


def test_damaged_best_weights_are_refused_before_the_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, _network())
    require_weights(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x41")
    with pytest.raises(UserError, match=rf"{path}: the best weights of the interrupted training cannot be read"):
        require_weights(path)
