import errno
import operator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.files import read_json
from wcr_med.pruning import Mask


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


@pytest.fixture
def keep() -> dict[str, Tensor]:
    first = torch.ones(2, 1, 3, 3, dtype=torch.uint8)
    first[0] = 0
    return {"2.weight": torch.tensor([True, False]).reshape(1, 2, 1, 1), "0.weight": first}


def test_counts(model: nn.Module, keep: dict[str, Tensor]) -> None:
    mask = Mask(keep, model)
    assert (mask.n, mask.n_kept, mask.sparsity) == (20, 10, 0.5)
    assert [(row.name, row.n, row.n_kept) for row in mask.layers] == [("0.weight", 18, 9), ("2.weight", 2, 1)]
    assert repr(mask) == "Mask(keeps 10 of 20, sparsity 0.5000)"


def test_apply_makes_exact_zeros_and_touches_nothing_else(model: nn.Module, keep: dict[str, Tensor]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Mask(keep, model).apply_(model)
    after = model.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"] * keep["0.weight"])
    assert not bool(torch.signbit(after["0.weight"][0]).any())
    untouched = set(before) - set(keep)
    assert all(torch.equal(after[name], before[name]) for name in untouched)


def test_a_mask_removes_nan_too(model: nn.Module, keep: dict[str, Tensor]) -> None:
    with torch.no_grad():
        model[0].weight[0] = torch.nan
    Mask(keep, model).apply_(model)
    assert bool(torch.isfinite(model[0].weight).all())


def test_what_it_was_made_from_and_what_it_gives_cannot_change_it(model: nn.Module, keep: dict[str, Tensor]) -> None:
    keep["2.weight"] = keep["2.weight"].clone()
    mask = Mask(keep, model)
    keep["2.weight"].fill_(False)
    mask.keep("2.weight").fill_(False)
    assert mask.n_kept == 10
    with pytest.raises(AttributeError, match="immutable"):
        mask._keep = {}
    with pytest.raises(TypeError):
        operator.setitem(mask._keep, "2.weight", keep["2.weight"])


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("2.weight", None, r"nothing for kernel 2\.weight"),
        ("1.weight", torch.ones(2, dtype=torch.bool), r"1\.weight, which is no prunable kernel"),
        ("2.weight", torch.ones(2, 1, 1, 1, dtype=torch.bool), r"shape \(2, 1, 1, 1\), the kernel has \(1, 2, 1, 1\)"),
        ("2.weight", torch.full((1, 2, 1, 1), 2, dtype=torch.uint8), "holds 2: only 0 and 1"),
        ("2.weight", torch.ones(1, 2, 1, 1), "bool or uint8 is needed"),
        ("2.weight", torch.ones(1, 2, 1, 1, dtype=torch.int8), "bool or uint8 is needed"),
    ],
)
def test_a_wrong_mask_cannot_be_built(
    model: nn.Module, keep: dict[str, Tensor], name: str, tensor: Tensor | None, message: str
) -> None:
    if tensor is None:
        del keep[name]
    else:
        keep[name] = tensor
    with pytest.raises(ValueError, match=message):
        Mask(keep, model)


def test_another_network_is_refused_before_anything_changes(model: nn.Module, keep: dict[str, Tensor]) -> None:
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    before = other[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"the mask of 2\.weight has shape"):
        Mask(keep, model).apply_(other)
    assert torch.equal(other[0].weight, before)


def test_comes_back_equal_with_counts_beside_it(model: nn.Module, keep: dict[str, Tensor], tmp_path: Path) -> None:
    mask = Mask(keep, model)
    mask.save(tmp_path / "mask.safetensors")
    assert Mask.load(tmp_path / "mask.safetensors", model) == mask
    counts = read_json(tmp_path / "mask.json")
    assert counts == mask.to_dict()
    assert counts["n_kept"] == 10
    assert counts["layers"][0] == {"name": "0.weight", "shape": [2, 1, 3, 3], "n": 18, "n_kept": 9}


def test_equality_is_by_content(model: nn.Module, keep: dict[str, Tensor]) -> None:
    mask = Mask(keep, model)
    assert mask == Mask(keep, model)
    assert mask != Mask({**keep, "2.weight": ~keep["2.weight"]}, model)
    assert mask != "mask"


def test_a_network_without_kernels() -> None:
    mask = Mask({}, nn.ReLU())
    assert (mask.n, mask.n_kept, mask.sparsity, mask.layers) == (0, 0, 0.0, ())


def test_files_that_are_no_mask(model: nn.Module, keep: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    with pytest.raises(UserError, match="no such file"):
        Mask.load(path, model)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        Mask.load(path, model)
    safetensors.torch.save_file(keep, path)
    with pytest.raises(UserError, match="not a mask of schema 1"):
        Mask.load(path, model)
    Mask(keep, model).save(path)
    with pytest.raises(UserError, match=r"nothing for kernel weight; give the mask"):
        Mask.load(path, nn.Conv2d(1, 1, 1))


def test_a_full_disk_leaves_nothing(
    model: nn.Module, keep: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        Mask(keep, model).save(tmp_path / "mask.safetensors")
    assert list(tmp_path.iterdir()) == []
