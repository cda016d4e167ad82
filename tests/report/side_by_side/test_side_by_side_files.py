import csv
import json
import re

import pytest

from wcr_med.report.side_by_side import compare_runs, write_side_by_side
from wcr_med.report.side_by_side.page import render_comparison, verdict_words

A = {"p1": 0, "p2": 1, "p3": 2, "p4": 0, "p5": None}
B = {"p1": 3, "p2": 1, "p3": 1, "p4": 0, "p5": None}


@pytest.fixture
def comparison(make_run):
    return compare_runs(make_run("wcr", A, configuration={"x": 1}), make_run("none", B, configuration={"x": None}))


@pytest.fixture
def page(comparison):
    return render_comparison(comparison)


def test_writes_page_json_and_table(comparison, tmp_path):
    path = write_side_by_side(comparison, tmp_path / "out")
    assert path == tmp_path / "out" / "compare.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["compare.html", "compare.json", "per_patient.csv"]
    with (path.parent / "per_patient.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [line["patient_id"] for line in lines] == ["p1", "p2", "p4", "p3", "p5"]
    assert lines[0]["dice_difference"] == "-0.300000"
    assert lines[-1]["dice_a"] == lines[-1]["dice_difference"] == ""


def test_json_holds_the_same_numbers_without_nan(comparison):
    document = comparison.to_dict()
    json.dumps(document, allow_nan=False)
    assert document["schema_version"] == 2
    assert document["paired"]["mean_difference"] == comparison.paired.mean_difference
    dice = document["metrics"][0]
    assert (dice["name"], "dense" in dice, "pruned" in dice) == ("dice", False, False)
    assert dice["a"] == document["a"]["scores"]["dice_patient"]["value"]
    assert document["patients"][-1]["difference"] is None
    assert document["fields"] == [{"field": "x", "a": 1, "b": None}]


def test_page_needs_nothing_from_elsewhere(page):
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "For research use only. Not a medical device" in page


def test_page_ids_are_unique_and_plots_have_text(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count('role="img"') == 2
    assert all(f'id="{prefix}-desc"' in page for prefix in ("plot-difference", "plot-patients"))


def test_page_shows_the_numbers_of_the_comparison(page, comparison):
    assert "\u22120.050" in page  # mean of -0.3, 0, +0.1 and 0
    assert comparison.paired.mean_difference == pytest.approx(-0.05)
    assert "wcr, network pruned-90" in page
    assert "Phantom data" not in page


def test_page_escapes_names(make_run):
    evil = "<script>alert(1)</script>"
    text = render_comparison(compare_runs(make_run(evil, A), make_run("b", A | {evil: 0})))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_page_marks_what_does_not_exist(make_run):
    empty = dict.fromkeys(A)
    text = render_comparison(compare_runs(make_run("a", empty), make_run("b", empty, phantom=True)))
    assert "No verdict: too few patients" in text
    assert "not defined" in text
    assert "No patient has a difference of Dice." in text
    assert "Phantom data" in text
    assert not re.search(r"\bnan\b", text)


def test_page_names_what_was_left_out(make_run):
    text = render_comparison(compare_runs(make_run("a", A), make_run("b", A, lesion_min_voxels=11)))
    assert "Left out, because the runs define them differently" in text
    assert "evaluation.lesion_min_voxels" in text


@pytest.mark.parametrize(
    ("margin", "shift", "short"),
    [(0.5, 1, "B is non-inferior to A"), (0.01, 3, "B is inferior to A")],
)
def test_verdicts_in_words(make_run, margin, shift, short):
    a = {f"p{number}": 0 for number in range(40)}
    b = {name: shift + place % 2 for place, name in enumerate(a)}
    found, sentence = verdict_words(compare_runs(make_run("a", a, margin=margin), make_run("b", b, margin=margin)))
    assert found == short
    assert f"\u2212{margin:g}" in sentence
    assert sentence.startswith("Even with one more patient")
    assert sentence.endswith("that they are compared is in neither plan.")
