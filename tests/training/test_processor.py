"""Device, precision, threads and tiny numbers."""

import pytest
import torch
from torch import nn

from wcr_med.config import TrainingConfig
from wcr_med.errors import UserError
from wcr_med.training import processor as processor_module
from wcr_med.training.processor import Processor, choose_processor, has_fast_bf16, processor_settings, seed_everything


def _config(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 1, **fields})


def test_cuda_where_there_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"training\.device is cuda"):
        choose_processor(_config(device="cuda"))
    assert choose_processor(_config(device="auto")).device.type == "cpu"


def test_auto_takes_cuda_and_its_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert choose_processor(_config()) == Processor(device=torch.device("cuda"), precision=torch.bfloat16)
    assert choose_processor(_config(device="cpu", precision="fp32")).device.type == "cpu"


@pytest.mark.parametrize(
    ("abilities", "fast"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)]
)
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert has_fast_bf16(torch.device("cpu")) is fast
    expected = torch.bfloat16 if fast else torch.float32
    assert choose_processor(_config(device="cpu")).precision == expected
    assert choose_processor(_config(device="cpu", precision="fp32")).precision == torch.float32
    assert choose_processor(_config(device="cpu", precision="bf16")).precision == torch.bfloat16


def test_places_channels_last_and_casts_convolutions_alone() -> None:
    processor = choose_processor(_config(device="cpu", precision="bf16"))
    model = nn.Conv2d(4, 6, 3)
    assert processor.place_model(model) is model
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    images = processor.place(torch.zeros(2, 4, 8, 8))
    assert images.is_contiguous(memory_format=torch.channels_last)
    with processor.autocast():
        assert model(images).dtype == torch.bfloat16
    assert model.weight.dtype == torch.float32
    assert str(processor).startswith("cpu, bf16")
    with choose_processor(_config(device="cpu", precision="fp32")).autocast():
        assert model(images).dtype == torch.float32


def test_settings_last_as_long_as_the_block() -> None:
    before = torch.get_num_threads()
    tiny = torch.tensor([1e-40])
    with processor_settings(3):
        assert torch.get_num_threads() == 3
        assert (tiny * 1.0).item() == 0
    assert torch.get_num_threads() == before
    assert (tiny * 1.0).item() != 0


def test_settings_work_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: object) -> object:
        raise OSError(name)

    monkeypatch.setattr(processor_module.ctypes, "CDLL", no_library)
    with processor_settings(0):
        assert torch.get_num_threads() >= 1


def test_epochs_draw_other_numbers_and_the_same_each_time() -> None:
    def draw(seed: int, epoch: int) -> float:
        seed_everything(seed, epoch)
        return torch.rand(()).item()

    drawn = {draw(seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)}
    assert len(drawn) == 9
    assert draw(1, 2) == draw(1, 2)
