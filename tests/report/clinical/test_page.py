"""The page is whole, well formed and accessible, and says what is missing in the hard cases."""

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.clinical.crosswalk import crosswalk
from wcr_med.report.clinical.page import SECTIONS, render_page

CASES = ("made_up", "one_patient", "all_empty", "bare")
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """What the tests ask of a page; elements must close in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.open, self.named_by_child = text, [], [], set()
        self.words = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "title" and self.open and self.open[-1][0] == "svg":
            self.named_by_child.add(self.open[-1][1])
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        opened, _ = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data):
        if not any(tag in ("style", "script", "title", "desc") for tag, _ in self.open):
            self.words.append(data)

    @property
    def reading(self):
        return " ".join(" ".join(self.words).split())

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module", params=CASES)
def page(request, pages):
    return Page(pages[request.param].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(pages):
    return Page(pages["made_up"].read_text(encoding="utf-8"))


def test_language_title_and_landmarks(page):
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == len(page.all("nav")) == len(page.all("header")) == len(page.all("footer")) == 1
    assert page.all("a")[0]["class"] == "skip"


def test_one_h1_and_no_level_is_left_out(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_every_link_arrives(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a", "use"):
        assert attributes["href"].startswith("#")
        assert attributes["href"][1:] in ids
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set(attributes.get(name, "").split()) <= set(ids)


def test_sections_stand_in_order_and_in_the_contents(page):
    anchors = [section.anchor for section in SECTIONS]
    assert [attributes["id"] for attributes in page.all("section")] == anchors
    contents = re.search(r"<nav.*?</nav>", page.text, re.DOTALL)[0]
    assert re.findall(r'href="#(\w+)"', contents) == anchors


def test_every_picture_has_a_name(page):
    for number, (tag, attributes) in enumerate(page.elements):
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img"
            named = attributes.get("aria-label") or attributes.get("aria-labelledby") or number in page.named_by_child
            assert named, attributes


def test_tables_have_captions_and_scopes(page):
    assert len(page.all("table")) == len(page.all("caption")) >= 8
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in page.all("th"))


def test_nothing_comes_from_elsewhere(page):
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:image/")), value
        assert not any(name.startswith("on") for name in attributes)
    assert not page.all("link", "iframe", "object", "embed", "base", "form")
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)[1]
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)


def test_policy_forbids_what_the_page_does_not_hold(page):
    (policy,) = [
        attributes["content"]
        for attributes in page.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_notice_and_phantom_mark(page):
    assert page.reading.count("For research use only. Not a medical device") >= 2
    assert "Phantom data." in page.reading


def test_no_number_is_nan_and_no_name_of_a_program_value(page):
    assert not re.search(r"\b(nan|None|inf|Undefined)\b", page.reading)


def test_first_screen_answers_seven_questions(full):
    for question in (
        "How good is it?", "On whom?", "How sure is that?", "What did pruning cost?", "Is it non-inferior",
        "How fast and how large is it?", "What is it not for?",
    ):  # fmt: skip
        assert question in full.reading


def test_numbers_of_the_first_screen_are_those_of_the_analysis(full, made_up):
    analysis = analyse(made_up)
    score, paired = analysis.pruned.scores["dice_patient"], analysis.verdict.paired
    verdict = analysis.verdict.verdict
    start = full.reading[: full.reading.index("Contents")]
    assert f"{score.value:.3f}" in start
    assert f"{score.low:.3f} to {score.high:.3f}" in start
    assert f"\u2212{-paired.mean_difference:.3f}" in start
    assert f"Worse by more than 0.05: {paired.n_worse} patients" in start
    assert f"{verdict.short} {verdict.sentence}".replace("\u00a0", " ") in start.replace("\u00a0", " ")
    assert "at the margin of 0.02 set on 2026-05-04, before training?" in start
    assert "14 made-up patients" in start
    assert "174.0 kB" in start
    assert "6.00 ms" in start


def test_one_patient_gets_no_interval_and_no_verdict(pages):
    text = Page(pages["one_patient"].read_text()).reading
    assert "No verdict: too few patients" in text
    assert "no interval can be given: it takes 5 patients with a Dice, and 1 has one." in text
    assert "Non-inferior" not in text.split("Contents")[0]


def test_empty_masks_have_no_score(pages):
    text = Page(pages["all_empty"].read_text()).reading
    assert "not defined" in text
    assert "no patient has one" in text
    assert "No verdict: too few patients" in text
    assert "No test patient has a lesion or a predicted voxel" in text


def test_what_was_not_measured_is_said(pages):
    text = Page(pages["bare"].read_text()).reading
    for reason in (
        "There is no data.csv beside the images", "Robustness to disturbed images was not measured",
        "No network of this run was exported", "were not scored in this run", "No file was exported",
    ):  # fmt: skip
        assert reason in text
    assert "split of slices would have claimed" not in text
    assert "not stated" in text


def test_leaky_split_is_a_warning(full):
    assert "a warning, not a result" in full.reading


def test_text_from_elsewhere_is_escaped(made_up):
    evil = "</style></title><script>alert(1)</script>"
    inputs = dataclasses.replace(
        made_up,
        title=evil,
        notes=(evil,),
        command=evil,
        source=evil,
        card=made_up.card.model_copy(update={"contact": evil}),
    )
    analysis = dataclasses.replace(analyse(made_up), title=evil)
    text = render_page(inputs, analysis, figures=NoFigures(), cases=(), guidelines=crosswalk(inputs, analysis))
    assert "<script>alert" not in text
    assert text.count("</style>") == 1


class NoFigures(dict):
    def __missing__(self, name):
        return ()


def test_folds_are_told_one_by_one(made_up):
    """Two folds of seven test patients each, in place of the hold-out."""
    (whole,) = made_up.partitions
    test, others = whole.parts["test"], whole.parts["train"] + whole.parts["validation"]
    folds = tuple(
        dataclasses.replace(
            whole,
            name=f"fold {number} of 2",
            parts={"train": others[2:], "validation": others[:2], "test": own},
            split_hash=f"{number}" * 64,
        )
        for number, own in enumerate((test[:7], test[7:]), start=1)
    )
    inputs = dataclasses.replace(made_up, design="cross-validation", partitions=folds)
    analysis = analyse(inputs)
    text = render_page(inputs, analysis, figures=NoFigures(), cases=(), guidelines=crosswalk(inputs, analysis))
    reading = Page(text).reading
    assert "2-fold cross-validation by patient, out-of-fold predictions pooled" in reading
    assert "each scored by a network that never saw it" in reading
    assert "Fold by fold" in reading
    for number, partition in enumerate(analysis.partitions, start=1):
        assert partition.name in reading
        assert f"{number}" * 12 in reading
    for score in analysis.pruned.partitions:
        assert f"{score.dice_patient.value:.3f}" in reading


def test_pictures_say_what_they_show_and_outlines_differ_in_style(full):
    pictures = [attributes for attributes in full.all("svg") if attributes.get("class") == "slice"]
    shown = [attributes for attributes in pictures if attributes.get("aria-hidden") != "true"]
    assert shown
    assert full.text.count(">research use only</text>") == full.text.count(">sides unknown</text>") == len(shown)
    assert full.text.count(">FLAIR, slice ") == len(shown)
    style = re.search(r"<style>(.*?)</style>", full.text, re.DOTALL)[1]
    on_screen = style.split("@media print")[0] + style.split("/* Outlines")[1].split("@media print")[0]
    dashes = {
        kind: re.search(rf"\.slice \.{kind} {{(.*?)}}", on_screen)[1].partition("stroke-dasharray:")[2].strip(" ;")
        for kind in ("reference", "dense", "pruned")
    }
    assert dashes["reference"] == ""
    assert dashes["dense"]
    assert dashes["pruned"]
    assert dashes["dense"] != dashes["pruned"]


def test_the_whole_configuration_is_not_printed(full):
    (whole,) = re.findall(r"<details[^>]*>\s*<summary>The whole configuration", full.text)
    assert 'class="screen"' in whole
    assert "Configuration: what differs from the defaults" in full.reading


def test_groups_that_are_not_judged_take_a_line_an_attribute(full):
    assert "Not judged: fewer than 4 patients" in full.reading
    section = re.search(r'<section id="subgroups".*?</section>', full.text, re.DOTALL)[0]
    assert "too few" not in section.partition("Not judged")[2]  # those above have figures, and no verdict
