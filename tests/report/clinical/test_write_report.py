"""The folder of a report holds everything, whole or not at all, and its numbers agree."""

import csv
import dataclasses
import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wcr_med.errors import UserError
from wcr_med.evaluation.stored import mask_path
from wcr_med.report.clinical import write
from wcr_med.report.clinical.write import write_report


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_everything_is_there_and_nothing_else(written):
    assert sorted(path.name for path in written.iterdir()) == [
        "masks", "metrics.json", "model_card.json", "per_lesion.csv", "per_patient.csv", "report.html",
    ]  # fmt: skip
    assert (written / "report.html").stat().st_size < 5e6


def test_a_line_for_every_patient_and_network(written, made_up):
    lines = read_csv(written / "per_patient.csv")
    assert len(lines) == len({(line["network"], line["patient_id"]) for line in lines}) == 3 * 14
    mean = {}
    for network in made_up.networks:
        own = [float(line["dice"]) for line in lines if line["network"] == network.name and line["dice"]]
        mean[network.name] = np.mean(own)
        assert mean[network.name] == pytest.approx(network.result.value("dice_patient"), abs=1e-6)
    stored = json.loads((written / "metrics.json").read_text())
    for network in stored["networks"]:
        assert network["scores"]["dice_patient"]["value"] == pytest.approx(mean[network["name"]], abs=1e-6)


def test_numbers_agree_with_the_masks_themselves(written, made_up):
    """From the NIfTI masks and the reference images alone."""
    from wcr_med.data.index import load_volume

    lines = {(line["network"], line["patient_id"]): line["dice"] for line in read_csv(written / "per_patient.csv")}
    for network in made_up.networks:
        for row in network.result.rows:
            path = written / "masks" / network.name / f"{row.patient_id}.nii.gz"
            predicted = np.asarray(nib.load(path).dataobj) > 0
            reference = load_volume(made_up.entries[row.patient_id]).mask_SHW > 0
            assert predicted.sum() == row.tp + row.fp
            both = reference.sum() + predicted.sum()
            told = lines[network.name, row.patient_id]
            if both == 0:
                assert told == ""
            else:
                overlap = (np.swapaxes(predicted, 0, 2) & reference).sum()
                assert float(told) == pytest.approx(2 * overlap / both, abs=1e-6)


def test_a_line_for_every_lesion_and_network(written, made_up):
    lines = read_csv(written / "per_lesion.csv")
    expected = sum(len(row.lesions) for network in made_up.networks for row in network.result.rows)
    assert len(lines) == expected > 0
    assert next(iter(lines[0])) == "network"


def test_a_second_report_replaces_the_first(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "render_page", lambda *_, **__: "second")
    monkeypatch.setattr(write, "draw_figures", lambda *_: {})
    monkeypatch.setattr(write, "gallery", lambda *_: ())
    (tmp_path / "masks" / "gone").mkdir(parents=True)
    (tmp_path / "report.html").write_text("first")
    (tmp_path / "own.txt").write_text("of the user")
    assert write_report(made_up, tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "report.html").read_text() == "second"
    assert not (tmp_path / "masks" / "gone").exists()
    assert (tmp_path / "own.txt").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_missing_mask_leaves_the_earlier_report(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "render_page", lambda *_, **__: "second")
    monkeypatch.setattr(write, "draw_figures", lambda *_: {})
    monkeypatch.setattr(write, "gallery", lambda *_: ())
    (tmp_path / "report.html").write_text("first")
    last = made_up.networks[-1]
    elsewhere = {patient_id: Path("nowhere") for patient_id in last.folders}
    inputs = dataclasses.replace(
        made_up, networks=(*made_up.networks[:-1], dataclasses.replace(last, folders=elsewhere))
    )
    with pytest.raises(UserError, match=r"nowhere.*pruned-90 is missing"):
        write_report(inputs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "first"


def test_masks_of_the_report_are_copies_that_a_reader_may_change(written, made_up):
    row = made_up.dense.result.rows[0]
    source = mask_path(made_up.dense.folders[row.patient_id], row.patient_id)
    copy = written / "masks" / "dense" / source.name
    assert copy.read_bytes() == source.read_bytes()
    assert not source.samefile(copy)


def test_the_same_inputs_give_the_same_page(made_up, written, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        page = write_report(made_up, tmp_path)
    assert page.read_bytes() == (written / "report.html").read_bytes()
    assert "14 patients" in caplog.text


def test_marks_of_direction_are_shown_and_not_obeyed(made_up, tmp_path):
    title = "Study \u202egpj.exe\u202c \u2066of\u2069 \u200eday\u061c"
    page = write_report(dataclasses.replace(made_up, title=title), tmp_path / "r").read_text(encoding="utf-8")
    assert not set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(page)
    assert r"Study \u202egpj.exe\u202c" in page
