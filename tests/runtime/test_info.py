"""`wcr-med info`: what a file holds, told without running it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.exported import sealed
from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.export.standalone import build_standalone
from wcr_med.model_layers import LAYERS_KEY
from wcr_med.model_metadata import METADATA_KEY, ModelMetadata
from wcr_med.runtime import info as info_of
from wcr_med.runtime.info import ModelInfo, describe
from wcr_med.runtime.info_text import info_text


def changed(model_file: Path, target: Path, *, properties: dict[str, str | None]) -> Path:
    """A copy with other metadata; `None` removes one."""
    model = onnx.load(model_file)
    kept = {entry.key: entry.value for entry in model.metadata_props} | properties
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in kept.items() if value is not None})
    target.write_bytes(sealed(model))
    return target


def with_operator(model_file: Path, target: Path, domain: str, operator: str) -> Path:
    """A copy with one node more, whose output nobody reads."""
    model = onnx.load(model_file)
    model.graph.node.append(onnx.helper.make_node(operator, ["image"], ["unread"], domain=domain))
    model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    target.write_bytes(sealed(model))
    return target


def loads(info: ModelInfo) -> dict[str, bool]:
    return {row.runtime: row.loads for row in info.support}


def test_the_channels_are_named(model_file: Path, tmp_path: Path) -> None:
    assert describe(model_file).metadata.channels is None
    assert re.search(r"^channels +not named in this file$", info_text(describe(model_file)), re.MULTILINE)
    named = replace(describe(model_file).metadata, channels=("pre-contrast", "FLAIR", "post-contrast"))
    other = changed(model_file, tmp_path / "named.onnx", properties={METADATA_KEY: named.to_json()})
    assert re.search(r"^channels +1 pre-contrast, 2 FLAIR, 3 post-contrast$", info_text(describe(other)), re.MULTILINE)
    assert describe(other).to_dict()["metadata"]["channels"] == ("pre-contrast", "FLAIR", "post-contrast")


def test_a_portable_file(model_file: Path) -> None:
    found, model = describe(model_file), onnx.load(model_file)
    assert (found.kind, found.size_bytes) == ("portable", model_file.stat().st_size)
    assert found.inputs == {"image": (None, 3, 32, 32), "centre": (3,), "spread": (3,)}
    assert found.outputs == ("logits", "probability")
    assert found.opsets == {"": 18}
    assert sum(found.operators.values()) == len(model.graph.node)
    assert found.operators["Conv"] == 2
    assert found.custom_operators == ()
    assert all(loads(found).values())
    text = next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    assert found.metadata == ModelMetadata.from_json(text, source="the test")
    assert found.layers is not None
    assert [(layer.name, layer.shape, layer.storage) for layer in found.layers] == [
        ("network.body.weight", (4, 3, 3, 3), "gap8"), ("network.head.weight", (1, 4, 1, 1), "gap8"),
    ]  # fmt: skip


def test_the_text_holds_all_that_matters(model_file: Path) -> None:
    found = describe(model_file)
    text = info_text(found)
    metadata = found.metadata
    for part in (
        "portable", "Research use only", "0 background, 1 lesion", "32 x 32", "percentiles 1 and 99",
        f"{100 * metadata.sparsity['sparsity_prunable']:.2f} % of {metadata.sparsity['n_prunable']} prunable weights",
        f"{100 * metadata.sparsity['sparsity_all']:.2f} % of {metadata.sparsity['n_all']} parameters",
        metadata.split_hash, metadata.licence, "*_a.nii.gz", "seed 0", "train -> prune", "OpenVINO",
    ):  # fmt: skip
        assert part in text
    assert re.search(r"^threshold +0\.5$", text, re.MULTILINE)
    assert re.search(r"^custom operators +none$", text, re.MULTILINE)
    assert re.search(r"^network\.body\.weight +4x3x3x3 +108 +108 +0\.00 % +\d+ +gap8, fp32$", text, re.MULTILINE)
    assert re.search(r"^all +112 +112 +0\.00 %", text, re.MULTILINE)


def test_the_document_is_json_and_complete(model_file: Path) -> None:
    document = json.loads(json.dumps(describe(model_file).to_dict(), allow_nan=False))
    assert document["metadata"]["task"] == "binary-segmentation"
    assert document["metadata"]["preprocess"]["height"] == 32
    assert [row["n"] for row in document["layers"]] == [108, 4]
    assert all(0 <= row["sparsity"] <= 1 for row in document["layers"])


def test_a_standalone_file_is_not_for_our_command(model_file: Path, tmp_path: Path) -> None:
    model = onnx.load(model_file)
    onnx.save(build_standalone(model, describe(model_file).metadata), tmp_path / "s.onnx")
    found = describe(tmp_path / "s.onnx")
    assert (found.kind, found.custom_operators) == ("standalone", ())
    assert loads(found) == {name: name != "wcr-med infer" for name in loads(found)}
    assert found.layers == describe(model_file).layers


def test_an_accelerated_file_needs_the_accelerator(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_operator(model_file, tmp_path / "a.onnx", native.DOMAIN, native.OPERATOR)
    monkeypatch.setattr(info_of, "require_openable", lambda _contents: None)  # the node is no whole program
    monkeypatch.setattr(native, "is_available", lambda: True)
    found = describe(path)
    assert (found.kind, found.custom_operators) == ("accelerated", ("wcr_med:Network",))
    assert {name for name, yes in loads(found).items() if yes} == {"ONNX Runtime with the accelerator", "wcr-med infer"}
    assert "no: lacks wcr_med:Network" in info_text(found)
    monkeypatch.setattr(native, "is_available", lambda: False)
    without = describe(path)
    assert not loads(without)["wcr-med infer"]
    assert "not built here" in info_text(without)


def test_operators_of_others_are_named(model_file: Path, tmp_path: Path) -> None:
    found = describe(with_operator(model_file, tmp_path / "x.onnx", "com.example", "Magic"))
    assert found.custom_operators == ("com.example:Magic",)
    assert not any(loads(found).values())
    assert "lacks com.example:Magic" in info_text(found)
    microsoft = loads(describe(with_operator(model_file, tmp_path / "m.onnx", "com.microsoft", "FusedConv")))
    assert microsoft["ONNX Runtime"]
    assert not microsoft["OpenVINO"]


def test_a_file_without_the_table_says_so(model_file: Path, tmp_path: Path) -> None:
    found = describe(changed(model_file, tmp_path / "old.onnx", properties={LAYERS_KEY: None}))
    assert found.layers is None
    assert found.to_dict()["layers"] is None
    assert "no table of them" in info_text(found)


def test_nothing_in_the_file_moves_the_cursor(model_file: Path, tmp_path: Path) -> None:
    document = json.loads({e.key: e.value for e in onnx.load(model_file).metadata_props}[METADATA_KEY])
    document["history"] = [{"step": "a\x1b[2J\nb"}]
    path = changed(model_file, tmp_path / "m.onnx", properties={METADATA_KEY: json.dumps(document)})
    text = info_text(describe(path))
    assert "a?[2J?b" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({METADATA_KEY: None}, "an ONNX model by pytorch, operator set 18, .* nodes, inputs image, centre, spread, "
                               "outputs logits, probability, without metadata of wcr-med"),
        ({METADATA_KEY: "{"}, "not JSON"),
        ({METADATA_KEY: '{"schema_version": 1, "task": "tracking"}'}, "made for the task 'tracking'"),
        ({LAYERS_KEY: "[1]"}, "table of layers is damaged"),
    ],
)  # fmt: skip
def test_others_get_one_line(model_file: Path, tmp_path: Path, properties: dict[str, str | None], message: str) -> None:
    path = changed(model_file, tmp_path / "other.onnx", properties=properties)
    with pytest.raises(UserError, match=message) as caught:
        describe(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_whole_model_gets_one_line(model_file: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(model_file.read_bytes()[:-100] if content is None else content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        describe(path)


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "wcr_med", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_the_command(model_file: Path, tmp_path: Path) -> None:
    done = command("info", model_file, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "portable"
    failed = command("info", tmp_path / "absent.onnx")
    assert failed.returncode == 2
    assert failed.stderr.splitlines() == [failed.stderr.strip()]
    assert "no such file" in failed.stderr
