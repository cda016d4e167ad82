"""The forms of an exported network stay until the network is another one, whatever is exported in whatever order."""

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.small import small_config
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_file, write_json
from wcr_med.stages import deployment, export
from wcr_med.stages.export import accelerated_path, export_stage, manifest_path, quantised_path, standalone_path
from wcr_med.stages.workspace import Workspace

PARITY = {
    "largest_logit_difference": 1e-6,
    "largest_dice_difference": 0.0,
    "differing_share": 0.0,
    "n_slices": 1,
    "n_patients": 1,
}


@dataclass
class Made:
    """What a fake wrote."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        size = self.path.stat().st_size
        return {
            "file": self.path.name,
            "size_bytes": size,
            "dense_size_bytes": 2 * size,
            "sha256": sha256_of_file(self.path),
            "parity": PARITY,
            "kept_fp32": [],
            "accelerated": True,
            "speedup": {"median": 2.0, "low": 1.9, "high": 2.1, "n_turns": 5},
            "accelerated_ms": 1.0,
            "threads": 1,
        }


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def workspace(calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run folder with a network of some bytes; exports write which they are, and what they were made from."""
    made = Workspace(out=tmp_path / "run", config=small_config(tmp_path / "images", tmp_path / "cache"))
    network = made.model_path("dense")
    network.parent.mkdir(parents=True)
    network.write_text("first network")
    portable = made.onnx_path("dense")

    def fake(form: str) -> Callable[..., Made]:
        def write(*arguments: Any, **options: Any) -> Made:
            calls.append(form)
            path = options.get("out_path") or arguments[1]
            path.parent.mkdir(exist_ok=True)
            source = network if form == "portable" else portable
            path.write_text(f"{form} of {source.read_text()}, number {len(calls)}")
            return Made(path)

        return write

    patients = SimpleNamespace(
        split=SimpleNamespace(hash="0", test=("a",), train=("b",)),
        data_hash="1",
        of=lambda names: [SimpleNamespace(patient_id=name) for name in names],
    )
    artefact = SimpleNamespace(refuse_leak=lambda _: None)
    for name, value in {
        "open_patients": lambda _: patients,
        "open_model": lambda *_: (None, artefact),
        "described": lambda _workspace, _patients, artefact: artefact,
        "require_accelerator": lambda: None,
        "export_model": fake("portable"),
        "export_accelerated": fake("accelerated"),
        "standalone_of": fake("standalone"),
        "export_quantised": fake("int8"),
    }.items():
        monkeypatch.setattr(export, name, value)
    return made


def asking(workspace: Workspace, *forms: str, **settings: Any) -> str:
    """One command."""
    settings |= {"accelerate": "accelerated" in forms}
    config = workspace.config.export.model_copy(update=settings)
    wanted = Workspace(out=workspace.out, config=workspace.config.model_copy(update={"export": config}))
    return export_stage(wanted, "dense", standalone="standalone" in forms, quantised="int8" in forms)


def files(workspace: Workspace) -> dict[str, Path]:
    portable = workspace.onnx_path("dense")
    return {
        "portable": portable,
        "accelerated": accelerated_path(portable),
        "standalone": standalone_path(portable),
        "int8": quantised_path(portable),
    }


COMMANDS: list[tuple[str, ...]] = [(), ("accelerated",), ("standalone",), ("int8",)]
ORDERS = [*itertools.permutations(COMMANDS), *itertools.permutations([("accelerated",), ("standalone", "int8")])]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "; ".join("+".join(forms) or "-" for forms in order))
def test_any_order_loses_nothing_and_makes_nothing_twice(
    workspace: Workspace, calls: list[str], order: tuple[tuple[str, ...], ...]
) -> None:
    for forms in (*order, *order):
        asking(workspace, *forms)
    assert sorted(calls) == ["accelerated", "int8", "portable", "standalone"]
    for form, path in files(workspace).items():
        assert path.read_text().startswith(f"{form} of ")
        assert json.loads(manifest_path(path).read_text())["sha256"] == sha256_of_file(path)
    assert len(deployment.exported_files(workspace, "dense")) == 2


@pytest.mark.parametrize("settings", [{"storage": "dense"}, {"values": "int8"}, {"parity_slices": 7}])
def test_another_portable_file_of_the_same_network_leaves_the_others(
    workspace: Workspace, calls: list[str], settings: dict[str, Any]
) -> None:
    asking(workspace, "accelerated", "standalone", "int8")
    before = {form: path.read_bytes() for form, path in files(workspace).items()}
    asking(workspace, **settings)
    after = {form: path.read_bytes() for form, path in files(workspace).items()}
    assert [form for form in before if before[form] != after[form]] == ["portable"]
    calls.clear()
    asking(workspace, "standalone", **settings)  # asked for again, it follows
    assert calls == ["standalone"]


@pytest.mark.parametrize("settings", [{"accelerate_rounds": 77}, {"quantised_dice_tolerance": 0.5}])
def test_settings_of_one_form_make_that_form_again(
    workspace: Workspace, calls: list[str], settings: dict[str, Any]
) -> None:
    asking(workspace, "accelerated", "standalone", "int8")
    calls.clear()
    asking(workspace, "accelerated", "standalone", "int8", **settings)
    assert calls == ["accelerated" if "accelerate_rounds" in settings else "int8"]


@pytest.mark.parametrize("second", COMMANDS)
def test_another_network_removes_what_was_made_from_the_old_one(
    workspace: Workspace, second: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    asking(workspace, "accelerated", "standalone", "int8")
    workspace.model_path("dense").write_text("second network")
    with caplog.at_level(logging.WARNING, "wcr_med"):
        asking(workspace, *second)
    there = {form for form, path in files(workspace).items() if path.exists()}
    assert there == {"portable", *second}
    for form, path in files(workspace).items():
        assert manifest_path(path).exists() == (form in there)
        if form in there:
            assert "second network" in path.read_text()
        else:
            assert f"{path}: removed, since it was made from another network of that name" in caplog.text


def test_a_file_of_unknown_network_goes(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    asking(workspace)
    files(workspace)["int8"].write_text("whose?")
    manifest_path(files(workspace)["standalone"]).write_text("{")
    files(workspace)["standalone"].write_text("whose?")
    with caplog.at_level(logging.WARNING, "wcr_med"):
        asking(workspace)
    assert {form for form, path in files(workspace).items() if path.exists()} == {"portable"}
    assert caplog.text.count("removed, since its manifest does not say from which network it was made") == 2


def test_a_form_that_is_refused_leaves_the_older_one_of_the_same_network(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(workspace, "accelerated", "standalone", "int8")
    before = {form: path.read_bytes() for form, path in files(workspace).items()}

    def refuse(*_: Any, **__: Any) -> None:
        raise UserError("differs")

    monkeypatch.setattr(export, "export_accelerated", refuse)
    with pytest.raises(UserError, match="differs"):
        asking(workspace, "accelerated", accelerate_rounds=77)
    assert {form: path.read_bytes() for form, path in files(workspace).items()} == before


def test_an_accelerated_file_of_another_network_is_not_measured(workspace: Workspace) -> None:
    asking(workspace, "accelerated")
    own = manifest_path(accelerated_path(workspace.onnx_path("dense")))
    write_json(own, {**read_json(own), "network_sha256": "0" * 64})
    assert len(deployment.exported_files(workspace, "dense")) == 1
