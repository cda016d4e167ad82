"""Plots: well-formed, labelled, the same bytes each time, as many marks as there are numbers, nothing invented."""

import dataclasses
import math
import re
from collections import Counter
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from tests.report.clinical.plot_records import (
    STATISTICS,
    made_analysis,
    made_comparison,
    made_ladder,
    made_network,
    made_result,
)
from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.plots.calibration import draw_reliability
from wcr_med.report.clinical.plots.distribution import draw_distribution
from wcr_med.report.clinical.plots.lesions import draw_lesions
from wcr_med.report.clinical.plots.patients import draw_patients
from wcr_med.report.clinical.plots.robustness import draw_robustness
from wcr_med.report.clinical.plots.sparsity import draw_ladder
from wcr_med.report.clinical.plots.subgroups import draw_subgroups
from wcr_med.report.clinical.plots.svg import figure_style, render
from wcr_med.report.clinical.plots.threshold import draw_threshold
from wcr_med.report.clinical.plots.verdict import draw_verdict
from wcr_med.report.clinical.plots.volume import draw_agreement

pytestmark = pytest.mark.filterwarnings("error")  # a layout that does not fit is told by a warning

SVG = "{http://www.w3.org/2000/svg}"


def draw_everything(analysis: Analysis, n_undefined: int = 0) -> dict[str, str]:
    """Every plot by name; a forest of several parts gives several."""
    comparison = analysis.verdict
    dense, pruned = analysis.dense, analysis.pruned
    n = analysis.n_patients
    results = [made_result(n, seed=seed, n_undefined=n_undefined) for seed in (0, 3)]
    drawn = {
        "verdict": draw_verdict(analysis, prefix="verdict"),
        "patients": draw_patients(comparison, analysis.statistics, prefix="patients"),
        "distribution": draw_distribution(*results, label=comparison.label, prefix="distribution"),
        "lesions": draw_lesions(comparison, prefix="lesions"),
        "volume": draw_agreement(dense, pruned, prefix="volume"),
        "reliability": draw_reliability(dense, pruned, prefix="reliability"),
        "threshold": draw_threshold(dense, pruned, prefix="threshold"),
        "ladder": draw_ladder(analysis.ladder, prefix="ladder"),
        "robustness": draw_robustness(analysis, prefix="robustness"),
    }
    parts = draw_subgroups(comparison, analysis.statistics, prefix="subgroups")
    return drawn | {f"subgroups-{place}": part for place, part in enumerate(parts, start=1)}


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return draw_everything(made_analysis(74), n_undefined=2)


def marks(svg: str, name: str) -> int:
    """How many marks the groups of this class hold."""
    groups = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == name]
    return sum(len(list(group.iter(f"{SVG}use"))) or len(group.findall(f"{SVG}path")) for group in groups)


def described(svg: str) -> str:
    return ET.fromstring(svg).findtext(f"{SVG}desc") or ""


def shown(svg: str) -> str:
    return " ".join(text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text"))


def test_every_plot_is_one_labelled_svg_whose_ids_no_other_plot_has(drawn):
    ids: Counter[str] = Counter()
    for name, svg in drawn.items():
        root = ET.fromstring(svg)
        assert root.tag == f"{SVG}svg"
        assert svg.startswith("<svg ")
        assert root.get("role") == "img"
        assert root.get("viewBox")
        assert "width" not in root.attrib
        own = [element.get("id") for element in root.iter() if element.get("id")]
        assert root.get("aria-labelledby", "").split() == own[:2]
        assert all(entry.startswith(name) for entry in own)
        assert root.findtext(f"{SVG}title")
        assert len(described(svg)) > 60
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert {one or other for one, other in used} <= set(own)
        ids.update(own)
    assert max(ids.values()) == 1


def test_nothing_reaches_beyond_the_plot_and_text_is_text(drawn):
    for svg in drawn.values():
        assert "<style" not in svg
        assert "<!" not in svg
        assert "<?" not in svg
        assert "DejaVu" not in svg
        assert "nan" not in svg.lower().replace("finance", "")
        assert ET.fromstring(svg).find(f".//{SVG}text") is not None
    assert sum(map(len, drawn.values())) < 800_000


def test_same_numbers_give_the_same_bytes(drawn):
    assert draw_everything(made_analysis(74), n_undefined=2) == drawn


def test_every_patient_has_its_marks(drawn):
    assert marks(drawn["patients"], "dense") == marks(drawn["patients"], "pruned") == 72
    assert marks(drawn["patients"], "change") == 72
    pairs = made_analysis(74).verdict.pairs
    assert all(pair.patient_id in shown(drawn["patients"]) for pair in pairs)
    assert shown(drawn["patients"]).count("no Dice") == 2
    assert marks(drawn["volume"], "patients") == 2 * 74
    assert marks(drawn["distribution"], "patients") == 2 * 8 * 72


def test_every_lesion_has_its_mark(drawn):
    lesions = made_analysis(74).verdict.lesions
    found = sum(lesion.detected_dense + lesion.detected_pruned for lesion in lesions)
    changed = sum(lesion.detected_dense != lesion.detected_pruned for lesion in lesions)
    assert marks(drawn["lesions"], "found") == found
    assert marks(drawn["lesions"], "missed") == 2 * len(lesions) - found
    assert marks(drawn["lesions"], "changed") == 2 * changed


def test_every_judged_subgroup_has_its_mark_and_parts_fit_a_page(drawn):
    attributes = made_analysis(74).verdict.attributes
    parts = [svg for name, svg in drawn.items() if name.startswith("subgroups")]
    assert len(parts) > 1
    judged = [group for entry in attributes for group in entry.groups if group.is_shown(10)]
    assert 0 < sum(marks(part, "group") for part in parts) == len(judged)
    for part in parts:
        width, height = map(float, ET.fromstring(part).get("viewBox", "").split()[2:])
        assert height / width < 1.25  # of an A4 page's text, 1.45


def test_empty_bins_have_no_point(drawn):
    assert marks(drawn["reliability"], "bins") == 2 * 19


def test_every_fold_marks_its_threshold():
    networks = [made_network(name, 20, seed=seed, folds=5) for seed, name in enumerate(("dense", "pruned-90"))]
    svg = draw_threshold(*networks, prefix="t")
    assert marks(svg, "chosen") == 10
    assert "0.35 to 0.51" in shown(svg)


def test_alternative_text_tells_the_figures(drawn):
    paired = made_analysis(74).verdict.paired
    assert f"{abs(paired.mean_difference):.3f}" in described(drawn["verdict"])
    verdict = made_analysis(74).verdict.verdict
    assert f"{verdict.status}." in described(drawn["verdict"])
    assert f"{abs(verdict.bounds.low):.3f} to" in described(drawn["verdict"])
    assert "The margin, set on 2026-05-04, before training, is a loss of 0.02." in described(drawn["verdict"])
    assert str(paired.n_worse) in described(drawn["patients"])
    assert "expected calibration error 0.041 (0.035 to 0.047)" in described(drawn["reliability"])
    assert "bias" in described(drawn["volume"])
    assert "90 % repaired".replace(" ", "\u00a0", 1) in described(drawn["ladder"])


@pytest.mark.parametrize(
    ("n", "n_undefined", "n_half"), [(3, 0, 0), (1, 0, 0), (0, 0, 0), (1, 1, 0), (5, 5, 0), (4, 0, 4), (160, 3, 2)]
)
def test_hard_cases_are_drawn_without_inventing_a_number(n, n_undefined, n_half):
    analysis = made_analysis(n, n_undefined=n_undefined, n_half=n_half, n_attributes=2 if n else 0)
    drawn = draw_everything(analysis, n_undefined=n_undefined)
    for svg in drawn.values():
        assert "nan" not in ET.tostring(ET.fromstring(svg), encoding="unicode")
    if n == n_undefined:
        assert "nothing to compare" in described(drawn["verdict"])
    if n == 1 and not n_undefined:
        assert "no bounds" in shown(drawn["verdict"])


def test_what_was_not_measured_is_said():
    analysis = dataclasses.replace(made_analysis(4, n_attributes=0), robustness=(), ladder=())
    drawn = draw_everything(analysis)
    assert "not scored" in shown(drawn["robustness"])
    assert "No other sparsity" in shown(drawn["ladder"])
    assert not [name for name in drawn if name.startswith("subgroups")]
    nothing = dataclasses.replace(analysis.dense, calibration=None)
    assert "No voxel is in question" in draw_reliability(nothing, nothing, prefix="r")
    assert "no lesion" in draw_lesions(dataclasses.replace(analysis.verdict, lesions=()), prefix="l")


def test_ladder_without_scores_is_not_drawn():
    rows = [
        dataclasses.replace(
            row, dice_patient=dataclasses.replace(row.dice_patient, value=math.nan, low=None, high=None)
        )
        for row in made_ladder()
    ]
    assert "No other sparsity" in draw_ladder(rows, prefix="l")


def test_names_from_outside_stay_text():
    comparison = made_comparison(2, n_attributes=0)
    odd = dataclasses.replace(comparison.pairs[0], patient_id='<script>alert("$x$ & y")</script>')
    svg = draw_patients(dataclasses.replace(comparison, pairs=(odd, comparison.pairs[1])), STATISTICS, prefix="p")
    assert "<script" not in svg
    assert odd.patient_id in shown(svg)


def test_prefix_must_begin_an_id():
    with figure_style(), pytest.raises(ValueError, match="prefix"):
        render(Figure(), "1 plot", title="t", description="d")
