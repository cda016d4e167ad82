"""Sealed safetensors files: any changed bit is noticed, files of older versions open."""

import logging
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch

from wcr_med import files
from wcr_med.tensor_files import DamagedError, read_tensors, save_tensors

TENSORS = {
    "weight": torch.linspace(-1, 1, 24).reshape(2, 3, 4),
    "count": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "keep": torch.tensor([True, False]),
    "none": torch.zeros(0),
}
TEXTS = {"about": '{"threshold": 0.5}', "format": "pt"}


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_noted", set())


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_tensors(path, {**TENSORS, "kernel": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)}, TEXTS)
    tensors, texts = read_tensors(path)
    assert texts == TEXTS
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_tensors(path, TENSORS, TEXTS)
    content = path.read_bytes()
    rng = random.Random(0)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            tensors, texts = read_tensors(path)
        except DamagedError:
            continue
        same = all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
        assert same, place  # a space of the header that became another one
        assert texts == TEXTS, place


def test_a_file_of_an_older_version_opens_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors.torch.save(TENSORS, TEXTS))
    with caplog.at_level(logging.INFO):
        assert read_tensors(path)[1] == TEXTS
    assert f"{path}: has no seal" in caplog.text
