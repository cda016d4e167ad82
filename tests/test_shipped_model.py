"""The networks in models/, and the program that puts them there."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import check as checking
from models import publish as shipping
from models import renew as renewing
from wcr_med.channel_names import KAGGLE_CHANNELS
from wcr_med.config import CardConfig, DataConfig
from wcr_med.data.content import content_hash
from wcr_med.data.index import index_patients, load_volume
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_file, write_json
from wcr_med.metrics import count
from wcr_med.model_metadata import INTENDED_USE
from wcr_med.plausibility import ImageStatistics
from wcr_med.runtime import Segmenter
from wcr_med.stages.export import manifest_path, standalone_path
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import Workspace
from wcr_med.volumes.kaggle import read_kaggle_patient
from wcr_med.volumes.pixels import pixel_hash

SHIPPED = [path for path in sorted(shipping.MODELS.glob("*.onnx")) if not path.name.endswith(".standalone.onnx")]
each_shipped = pytest.mark.parametrize("path", SHIPPED or [None], ids=lambda path: path.name if path else "none")
DICE_TOLERANCE = 1e-3  # another processor may move a few voxels that lie on the threshold


@pytest.fixture
def shipped(path: Path | None) -> Path:
    if path is None:
        assert not (shipping.MODELS.parent / ".git").exists(), "the network of models/ is gone"
        pytest.skip("no network in models/: it is in the repository alone")
    return path


def card_of(path: Path) -> dict[str, Any]:
    card: dict[str, Any] = read_json(path.with_suffix(".model_card.json"))
    return card


@each_shipped
def test_file_card_and_licence(shipped: Path) -> None:
    assert shipped.stat().st_size < 2_000_000
    card = card_of(shipped)
    standalone = shipped.with_suffix(".standalone.onnx")
    assert card["file"] == shipping.describe(shipped, shipped.name)
    assert card["standalone"] == shipping.describe(standalone, standalone.name)
    assert "CC BY-NC-SA 4.0" in card["licence"]
    assert "Not a medical device" in card["licence"]
    assert card["file"]["sha256"] in shipped.with_suffix(".md").read_text(encoding="utf-8")
    metadata = Segmenter.from_file(shipped, threads=1).metadata
    assert 0 < metadata.threshold < 1
    assert "CC BY-NC-SA 4.0" in metadata.licence
    assert metadata.channels == KAGGLE_CHANNELS
    assert metadata.image_statistics is not None
    assert ImageStatistics.from_dict(metadata.image_statistics, source=shipped.name).usable
    assert metadata.intended_use == INTENDED_USE
    assert len(metadata.split_hash) == 64
    shipping.require_committed(metadata, card)
    metrics = read_json(shipped.with_suffix(".metrics.json"))
    assert [part["split_hash"] for part in metrics["partitions"]] == [metadata.split_hash]


@each_shipped
def test_the_cards_tell_who_made_it_where_and_what_it_gets_wrong(shipped: Path) -> None:
    card, text = card_of(shipped), shipped.with_suffix(".md").read_text(encoding="utf-8")
    details, made = card["model_details"], Segmenter.from_file(shipped, threads=1).metadata.provenance
    assert "not stated" not in (details["name"], details["developers"], details["licence"])
    commits = details["commits"]
    assert commits["training"] == made["network"]["commit"]
    assert commits["export"] == made["export"]["commit"]
    for label, commit in zip(("trained", "exported", "scored and reported"), commits.values(), strict=True):
        assert f"| {label} at | commit `{commit}`" in text
    lesions = card["quantitative_analyses"]["detection"]
    worst = card["quantitative_analyses"]["worst_disturbance"]
    assert f"{worst['pruned']:.3f} (" in text
    assert f"under {worst['disturbance']} of strength {worst['strength']:g}" in text
    n_found, n_false = lesions["n_detected"], lesions["n_false"]
    assert f"| {n_found} of {lesions['n_reference']}: " in text
    assert f"{n_found} of {n_found + n_false}: " in text
    assert f"{n_false} false lesions" in text
    name = shipped.stem.removeprefix("lgg-")
    for label, row in shipping.quality(name, read_json(shipped.with_suffix(".metrics.json"))).items():
        assert f"| {label} | {row.replace('|', '&#124;')} |" in text
    for label in ("HD95", "Dice, mean", "lowest Dice under a disturbance", "verdict of non-inferiority"):
        assert label in text


@pytest.mark.lgg
@each_shipped
def test_the_pages_show_it_on_a_test_patient(shipped: Path, lgg_root: Path) -> None:
    pages = (shipping.MODELS.parent / "README.md", shipping.MODELS / "README.md", Path("docs/runtimes.md"))
    named = {found for page in pages for found in re.findall(r"TCGA_[A-Z]{2}_\w{4}_\d{8}", page.read_text("utf-8"))}
    rows = {row["image_sha256"] for row in card_of(shipped)["test_patients"]}
    assert named
    for name in named & {path.name for path in lgg_root.iterdir()}:
        volume = read_kaggle_patient(lgg_root / name, with_mask=False)
        assert pixel_hash(volume.image_SHWC) in rows, name


@each_shipped
def test_no_patient_is_named(shipped: Path) -> None:
    for path in shipped.parent.glob(f"{shipped.stem}.*"):
        assert b"TCGA_" not in path.read_bytes(), path


@each_shipped
def test_runs_on_a_phantom_patient(shipped: Path, phantom_root: Path) -> None:
    volume = load_volume(index_patients(DataConfig(root=phantom_root))[0])
    with Segmenter.from_file(shipped, threads=1) as segmenter:
        result = segmenter(volume.image_SHWC)
    assert result.mask.shape == volume.image_SHWC.shape[:3]
    assert np.isfinite(result.probability).all()


@pytest.mark.lgg
@each_shipped
def test_segments_real_test_patients_as_its_card_says(shipped: Path, lgg_root: Path) -> None:
    rows = {row["image_sha256"]: row for row in card_of(shipped)["test_patients"]}
    checked = 0
    with Segmenter.from_file(shipped) as segmenter:
        for entry in index_patients(DataConfig(root=lgg_root)):
            if checked < 3 and (row := rows.get(shipping.Pixels.of(entry).image_sha256)):
                volume = load_volume(entry)
                assert volume.mask_SHW is not None
                assert shipping.Pixels.of(entry).mask_sha256 == row["mask_sha256"]
                dice = count(volume.mask_SHW, segmenter.mask(volume.image_SHWC)).dice
                assert dice == pytest.approx(row["dice"], abs=DICE_TOLERANCE, nan_ok=True)
                checked += 1
    if not checked:
        pytest.skip("none of its test patients is there")


@pytest.fixture
def run(finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A finished run whose report says that its patients are real; the code here may be uncommitted."""
    shutil.copytree(finished.out, tmp_path / "run")
    made = Workspace(out=tmp_path / "run", config=finished.config)
    metrics = made.out / "report" / "metrics.json"
    write_json(metrics, {**read_json(metrics), "phantom": False})
    card = made.out / "report" / "model_card.json"
    stated = dict.fromkeys(("name", "developers", "licence"), "stated")
    change(card, model_details={**read_json(card)["model_details"], **stated})
    monkeypatch.setattr(shipping, "require_committed", lambda *_: None)
    return made


def test_publish(run: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "models"
    target.mkdir()
    assert shipping.main([str(run.out), "--model", "pruned-90", "--out", str(target)]) == 0
    written = {path.name: path for path in target.iterdir()}
    stem = "lgg-pruned-90"
    assert set(written) == {f"{stem}{end}" for end in (".onnx", ".md", ".model_card.json", ".metrics.json")}
    assert written[f"{stem}.onnx"].read_bytes() == run.onnx_path("pruned-90").read_bytes()
    card = card_of(written[f"{stem}.onnx"])
    assert card["file"]["sha256"] == sha256_of_file(written[f"{stem}.onnx"])
    assert "standalone" not in card
    short = written[f"{stem}.md"].read_text(encoding="utf-8")
    assert "| developers | stated |" in short
    assert (
        shipping.quality("pruned-90", read_json(run.out / "report" / "metrics.json"))["HD95, mean over patients"]
        in short
    )
    assert "on the same 3 patients" in written[f"{stem}.md"].read_text(encoding="utf-8")
    patients = open_patients(run)
    for path in written.values():
        assert not [entry.patient_id for entry in patients.entries if entry.patient_id.encode() in path.read_bytes()]
    of_test = {shipping.Pixels.of(entry) for entry in patients.of(patients.split.test)}
    found = {
        shipping.Pixels(image_sha256=r["image_sha256"], mask_sha256=r["mask_sha256"]) for r in card["test_patients"]
    }
    assert found == of_test
    assert "patient " in written[f"{stem}.metrics.json"].read_text(encoding="utf-8")


def test_a_reader_can_check_what_was_published(
    run: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, root = tmp_path / "models", run.config.data.root
    shipping.publish(run.out, "pruned-90", target, stem="net")
    assert checking.main([str(target / "net.onnx"), str(root)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "3 of the 3 test patients are there; 3 with the Dice of the card"
    assert sum("not a test patient: it may have trained the network" in line for line in told) == 9
    rows = card_of(target / "net.onnx")["test_patients"]
    change(target / "net.model_card.json", test_patients=[{**rows[0], "dice": 0.123}, *rows[1:]])
    assert checking.main([str(target / "net.onnx"), str(root)]) == 1
    assert "0.1230 in the card; DIFFERS" in capsys.readouterr().out
    assert checking.main([str(target / "net.onnx"), str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_an_older_card_is_brought_up_to_date_without_its_run(run: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shipping.publish(run.out, "pruned-90", folder, stem="lgg-pruned-90")
    path = folder / "lgg-pruned-90.onnx"
    card, before = card_of(path), path.read_bytes()
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    entries = {shipping.Pixels.of(entry).image_sha256: entry for entry in open_patients(run).entries}
    details = {**card["model_details"], "commit": card["model_details"]["commits"]["report"], "name": "not stated"}
    del details["commits"]
    rows = [
        {"number": row["number"], "content_sha256": content_hash([entries[row["image_sha256"]]]), "dice": row["dice"]}
        for row in card["test_patients"]
    ]
    change(path.with_suffix(".model_card.json"), model_details=details, test_patients=rows)
    metrics = read_json(path.with_suffix(".metrics.json"))
    older = [
        {key: value for key, value in entry.items() if key != "worst_disturbance"} for entry in metrics["comparisons"]
    ]
    change(path.with_suffix(".metrics.json"), comparisons=older)
    stated = CardConfig(model_name="net", developers="we", licence="CC BY-NC-SA 4.0")
    with pytest.raises(UserError, match=r"card\.model_name: is not stated"):
        renewing.renew(path.stem, run.config, folder=folder)
    renewing.renew(path.stem, run.config.model_copy(update={"card": stated}), folder=folder)
    again = card_of(path)
    assert again["test_patients"] == card["test_patients"]
    assert again["model_details"]["commits"] == card["model_details"]["commits"]
    assert again["model_details"]["developers"] == "we"
    worst = "worst_disturbance"
    assert again["quantitative_analyses"][worst] == card["quantitative_analyses"][worst]
    assert again["file"] == shipping.describe(path, path.name)
    metadata = Segmenter.from_file(path, threads=1).metadata
    assert metadata.licence == "CC BY-NC-SA 4.0."
    assert metadata.channels == KAGGLE_CHANNELS
    assert len(path.read_bytes()) - len(before) < 1000
    lines = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| Dice")] == [
        line for line in page.splitlines() if line.startswith("| Dice")
    ]
    for place in (run.config.data.root.parent, tmp_path):
        assert not list(place.glob(".partial*"))


@pytest.fixture
def standalone(run: Workspace) -> Path:
    """The standalone form of the run's file, as its export would describe it."""
    portable = run.onnx_path("pruned-90")
    path = standalone_path(portable)
    path.write_bytes(b"a file")
    write_json(manifest_path(path), {"sha256": sha256_of_file(path), "portable_sha256": sha256_of_file(portable)})
    return path


def test_the_standalone_form_is_published_too(run: Workspace, standalone: Path, tmp_path: Path) -> None:
    target = tmp_path / "models"
    shipping.publish(run.out, "pruned-90", target, stem="net")
    assert (target / "net.standalone.onnx").read_bytes() == standalone.read_bytes()
    assert card_of(target / "net.onnx")["standalone"] == shipping.describe(standalone, "net.standalone.onnx")


@pytest.mark.parametrize("field", ["sha256", "portable_sha256"])
def test_a_standalone_form_of_another_file_is_refused(
    run: Workspace, standalone: Path, tmp_path: Path, field: str
) -> None:
    change(manifest_path(standalone), **{field: "0" * 64})
    with pytest.raises(UserError, match="export it again with --standalone"):
        shipping.publish(run.out, "pruned-90", tmp_path / "models", stem="net")
    assert not (tmp_path / "models").exists()


def change(path: Path, **values: Any) -> None:
    write_json(path, {**read_json(path), **values})


def phantom(run: Workspace) -> None:
    change(run.out / "report" / "metrics.json", phantom=True)


def overlapping(run: Workspace) -> None:
    path = run.out / "report" / "metrics.json"
    change(path, partitions=[{**part, "disjoint": False} for part in read_json(path)["partitions"]])


def seen(run: Workspace) -> None:
    split = Split.load(run.split_path)
    replace(split, train=split.test, test=split.train).save(run.split_path)


def replaced(run: Workspace) -> None:
    shutil.copyfile(run.onnx_path("dense"), run.onnx_path("pruned-90"))


def reported_of_another(run: Workspace) -> None:
    path = run.out / "report" / "model_card.json"
    change(path, model_details={**read_json(path)["model_details"], "files": []})


def without_licence(run: Workspace) -> None:
    path = run.out / "report" / "model_card.json"
    change(path, model_details={**read_json(path)["model_details"], "licence": "not stated"})


def unscored(run: Workspace) -> None:
    shutil.rmtree(run.evaluation_folder("pruned-90-onnx"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (phantom, "phantom"),
        (overlapping, "by patient"),
        (seen, "trained on it"),
        (replaced, "manifest"),
        (reported_of_another, "report's card"),
        (without_licence, "card.licence: is not stated"),
        (unscored, "evaluate --model pruned-90 --onnx"),
    ],
)
def test_refused(run: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, words: str) -> None:
    spoil(run)
    target = tmp_path / "models"
    target.mkdir()
    assert shipping.main([str(run.out), "--model", "pruned-90", "--out", str(target)]) == 2
    assert words in capsys.readouterr().err
    assert not list(target.iterdir())


@pytest.mark.parametrize("commit", [None, "0123456789abcdef+changes", "not stated"])
def test_uncommitted_code_is_refused(finished: Workspace, commit: str | None) -> None:
    metadata = Segmenter.from_file(finished.onnx_path("pruned-90"), threads=1).metadata
    good, bad = ({"commit": text} for text in ("0123456789abcdef", commit))
    card = {"model_details": {"commits": {"report": good["commit"]}}}
    metadata.provenance.update(network=good, export=good)
    shipping.require_committed(metadata, card)
    for place in ("network", "export"):
        metadata.provenance.update({"network": good, "export": good, place: bad})
        with pytest.raises(UserError, match=f"{place}: made with code of commit"):
            shipping.require_committed(metadata, card)
    metadata.provenance.update(network=good, export=good)
    with pytest.raises(UserError, match="report: made with"):
        shipping.require_committed(metadata, {"model_details": {"commits": {"report": commit}}})


def test_names_within_words_are_numbered() -> None:
    document = {"TCGA_A_1": [{"file": "TCGA_A_1/x.tif", "other": 3}], "b": "TCGA_A_12"}
    found = shipping.numbered(document, {"TCGA_A_1": 1, "TCGA_A_12": 2})
    assert found == {"patient 1": [{"file": "patient 1/x.tif", "other": 3}], "b": "patient 2"}
    assert json.dumps(document)  # left alone
