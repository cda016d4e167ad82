import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from wcr_med.artefacts import ModelArtefact, load_model, save_model
from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.models import PaddedNetwork, build_model
from wcr_med.preprocess import PreprocessSettings

CONFIG = ModelConfig(features=2)


def artefact(**changes: Any) -> ModelArtefact:
    whole = ModelArtefact(
        model_config=CONFIG.model_dump(mode="json"),
        preprocess=PreprocessSettings(height=32, width=48).to_dict(),
        split_hash="ab" * 32,
        trained_on=("TCGA_CS_0001", "TCGA_DU_0002"),
        validated_on=("TCGA_HT_0003",),
        threshold=0.4,
        history=({"step": "train", "epochs": 3},),
        provenance={"seed": 1},
    )
    return replace(whole, **changes)


@pytest.fixture
def model() -> PaddedNetwork:
    return build_model(CONFIG, seed=0)


@pytest.fixture
def path(tmp_path: Path, model: PaddedNetwork) -> Path:
    save_model(tmp_path / "network.safetensors", model, artefact())
    return tmp_path / "network.safetensors"


def rewrite(path: Path, change: Any) -> None:
    """Read the file, let `change` edit (document, tensors), write it again."""
    with safetensors.safe_open(path, framework="pt") as stream:
        document = json.loads(stream.metadata()["wcr_med"])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
    change(document, tensors)
    safetensors.torch.save_file(tensors, path, {"wcr_med": json.dumps(document)})


def test_comes_back_equal(path: Path) -> None:
    _, read = load_model(path)
    assert read == artefact()
    assert read.settings == PreprocessSettings(height=32, width=48)


def test_loading_neither_downloads_nor_draws(path: Path, model: PaddedNetwork) -> None:
    named = artefact(model_config={**CONFIG.model_dump(mode="json"), "encoder_weights": "imagenet"})
    save_model(path, model, named)
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_history_grows_in_a_copy() -> None:
    first = artefact()
    second = first.with_step("prune", sparsity=0.9)
    assert len(first.history) == 1
    assert second.history[-1] == {"step": "prune", "sparsity": 0.9}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"validated_on": ("TCGA_CS_0001",)}, "TCGA_CS_0001 stands in trained_on and in validated_on"),
        ({"history": ({"name": "train"},)}, "every step of history"),
    ],
)
def test_an_invalid_artefact_cannot_be_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        artefact(**changes)


def test_metadata_with_nan_are_not_written(tmp_path: Path, model: PaddedNetwork) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_model(tmp_path / "x.safetensors", model, artefact(provenance={"loss": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(path: Path, model: PaddedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_model(path, model, artefact())
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_refuses_to_test_what_it_has_seen() -> None:
    artefact().refuse_leak(["TCGA_FG_0009"])
    with pytest.raises(UserError, match=r"TCGA_CS_0001 \(and 1 more\): this network was trained on it"):
        artefact().refuse_leak(["TCGA_FG_0009", "TCGA_DU_0002", "TCGA_CS_0001"])
    with pytest.raises(UserError, match="TCGA_HT_0003: this network was validated on it"):
        artefact().refuse_leak(iter(["TCGA_HT_0003"]))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 100])
def test_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "x.safetensors"
    target.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.safetensors: not a whole safetensors file"):
        load_model(target)


def test_a_truncated_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_model(path)


def test_weights_without_metadata(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="no wcr-med metadata"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "not a JSON object")])
def test_metadata_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"wcr_med": text})
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "have schema 99, this version reads 1 and 2"),
        ({"surplus": 1}, "missing or unknown: surplus"),
        ({"threshold": 2}, "metadata are invalid"),
        ({"threshold": "high"}, "metadata are invalid"),
        ({"history": [1]}, "metadata are invalid"),
        ({"trained_on": None}, "metadata are invalid"),
        ({"channels": ["T1", "T1", "T2"]}, "metadata are invalid"),
        ({"channels": ["T1"]}, "metadata are invalid"),
        ({"channels": 3}, "metadata are invalid"),
        ({"model_config": {"name": "vit"}}, "a network that this version does not know"),
        ({"model_config": 3}, "a network that this version does not know"),
    ],
)
def test_metadata_of_another_version(path: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(path, lambda document, _: document.update(changes))
    with pytest.raises(UserError, match=message):
        load_model(path)


def test_a_file_of_schema_1_opens_and_names_no_channels(path: Path) -> None:
    def older(document: dict[str, Any], _: object) -> None:
        document["schema_version"] = 1
        del document["channels"], document["image_statistics"]

    rewrite(path, older)
    assert load_model(path)[1] == artefact()


def test_names_of_channels_come_back(path: Path, model: PaddedNetwork) -> None:
    named = artefact(channels=("T1", "FLAIR", "T1c"), image_statistics={"n": 1})
    save_model(path, model, named)
    assert load_model(path)[1] == named


def test_missing_metadata_fields_are_named(path: Path) -> None:
    rewrite(path, lambda document, _: document.pop("split_hash"))
    with pytest.raises(UserError, match="missing or unknown: split_hash"):
        load_model(path)


def test_a_checkpoint_of_another_network_names_the_first_tensor_and_both_shapes(path: Path) -> None:
    rewrite(path, lambda document, _: document["model_config"].update(features=4))
    with pytest.raises(
        UserError, match=r"down.0.0.weight is float32 \(2, 3, 3, 3\) in the file and float32 \(4, 3, 3, 3\)"
    ):
        load_model(path)


def test_missing_surplus_and_mistyped_tensors_are_named(path: Path) -> None:
    whole = path.read_bytes()
    rewrite(path, lambda _, tensors: tensors.pop("head.bias"))
    with pytest.raises(UserError, match=r"head.bias is absent in the file and float32 \(1,\)"):
        load_model(path)
    path.write_bytes(whole)
    rewrite(path, lambda _, tensors: tensors.update(surplus=torch.zeros(2)))
    with pytest.raises(UserError, match=r"surplus is float32 \(2,\) in the file and absent"):
        load_model(path)
    path.write_bytes(whole)
    rewrite(path, lambda _, tensors: tensors.update({"head.bias": tensors["head.bias"].half()}))
    with pytest.raises(UserError, match=r"head.bias is float16 \(1,\) in the file"):
        load_model(path)
