"""The report as one HTML file that needs nothing else: style, plots and images inside, readable without scripts."""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from typing import Any

import jinja2
import yaml

from wcr_med.pictures import STYLES
from wcr_med.report.analysis.document import (
    Analysis,
    AttributeAnalysis,
    Cases,
    Demographics,
    NetworkAnalysis,
    PartitionScore,
    RobustnessCurve,
    Subgroup,
    ThresholdPoint,
    VolumePoint,
)
from wcr_med.report.clinical import facts, formats, labels, outcomes
from wcr_med.report.clinical.configuration import changed_fields
from wcr_med.report.clinical.crosswalk import Guideline, Item
from wcr_med.report.clinical.drawing import Figures
from wcr_med.report.clinical.gallery import PANELS, GalleryCase
from wcr_med.report.clinical.inputs import Deployment, Latency, ReportInputs
from wcr_med.report.clinical.limits import limitations


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A section of the page.

    Attributes:
        anchor: its id, and the name of its template.
        title: its heading.
    """

    anchor: str
    title: str


SECTIONS = tuple(
    PageSection(anchor=anchor, title=title)
    for anchor, title in (
        ("summary", "Summary and verdict"),
        ("intended", "Intended use, inputs, out of scope"),
        ("data", "Data"),
        ("partitions", "Partitions"),
        ("model", "Model and training"),
        ("definitions", "What the figures mean"),
        ("performance", "Performance"),
        ("volume", "Volume agreement"),
        ("calibration", "Calibration and threshold"),
        ("subgroups", "Subgroups"),
        ("pruning", "What pruning changed"),
        ("robustness", "Robustness"),
        ("gallery", "Gallery of failures"),
        ("deployment", "Deployment"),
        ("limitations", "Limitations"),
        ("provenance", "Provenance and reporting guidelines"),
    )
)
"""In the order of the page."""

# The only script: what is folded away is opened for print, where the style sheet alone does not do it.
_SCRIPT = "addEventListener('beforeprint',()=>document.querySelectorAll('details').forEach(d=>{d.open=true}))"


def render_page(
    inputs: ReportInputs,
    analysis: Analysis,
    *,
    figures: Figures,
    cases: Sequence[GalleryCase],
    guidelines: Sequence[Guideline],
) -> str:
    """The report as HTML.

    Every text from elsewhere is escaped. Nothing is fetched: a content security policy within the page forbids it.

    Args:
        inputs: what the report is made of.
        analysis: every number of it.
        figures: of `draw_figures`.
        cases: of `gallery`.
        guidelines: of `crosswalk`.
    """
    environment = _environment(analysis)
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    template = environment.get_template("page.html.j2")
    return template.render(
        inputs=inputs,
        analysis=analysis,
        figures=figures,
        cases=cases,
        styles=STYLES,
        panel_kinds=PANELS,
        guidelines=guidelines,
        sections=SECTIONS,
        numbers={section.anchor: number for number, section in enumerate(SECTIONS, start=1)},
        titles={section.anchor: section.title for section in SECTIONS},
        figure_number=count(1).__next__,
        style=environment.loader.get_source(environment, "style.css")[0] if environment.loader else "",
        script=_SCRIPT,
        script_hash=f"sha256-{digest}",
        running_title=formats.css_string(f"{inputs.title}: evaluation report"),
        running_mark=formats.css_string("Phantom data, no patients" if inputs.phantom else ""),
        **_sentences(inputs, analysis),
        **_tables(inputs, analysis),
    )


def _environment(analysis: Analysis) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wcr_med.report.clinical"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        formats.number,
        formats.span,
        formats.percent,
        formats.size,
        formats.milliseconds,
        formats.scientific,
        formats.counted,
        formats.listed,
        labels.score_label,
        labels.after_pruning,
        labels.repair_words,
        labels.characteristic,
        labels.group_verdict,
        outcomes.jump_value,
        labels.tests_used,
        labels.thresholds,
        labels.disturbance_words,
        facts.as_score,
    ):
        environment.filters[function.__name__] = function
    environment.filters["p_bare"] = lambda value: formats.p_value(value).removeprefix("p ").removeprefix("= ")
    environment.filters["network_label"] = partial(labels.network_label, analysis)
    environment.filters["as_yaml"] = _as_yaml
    environment.filters["by_heading"] = _by_heading
    environment.filters["with_tumour"] = _with_tumour
    environment.filters["partition_score"] = _partition_score
    environment.tests["defined_number"] = lambda value: value is not None and math.isfinite(value)
    return environment


def _sentences(inputs: ReportInputs, analysis: Analysis) -> dict[str, Any]:
    """Text that is made of numbers."""
    statistics = analysis.statistics
    verdicts = {comparison.network: comparison.verdict for comparison in analysis.comparisons}
    return {
        "facts": facts.page_facts(inputs, analysis),
        "verdicts": verdicts,
        "verdict": verdicts[analysis.primary],
        "lesions_sentence": facts.lesions_found(analysis),
        "deployment_answer": facts.deployment_answer(analysis),
        "harm_sentence": facts.harm_sentence(analysis),
        "cost_rows": outcomes.cost_rows(analysis.verdict.cost, analysis.verdict.worst_disturbance),
        "bounds": outcomes.bounds_words(statistics.outcome_bounds, not_compared=analysis.verdict.not_compared),
        "not_compared": outcomes.not_compared_sentence(analysis.verdict.not_compared),
        "unchanged": outcomes.unchanged_sentence(statistics.outcome_bounds, not_compared=analysis.verdict.not_compared),
        "calibration_shift": facts.calibration_shift(analysis),
        "limits": limitations(inputs, analysis),
        "configuration": yaml.safe_dump(dict(inputs.configuration), sort_keys=False, allow_unicode=True),
        "tolerances": formats.listed([f"{tolerance:g}" for tolerance in statistics.tolerances_px]),
    }


def _tables(inputs: ReportInputs, analysis: Analysis) -> dict[str, Any]:
    """Rows that are put together from several records."""
    names = dict.fromkeys(name for network in analysis.networks for name in network.scores)
    deployed: list[tuple[str, Deployment]] = [
        (labels.network_label(analysis, name), file) for name, files in analysis.deployment.items() for file in files
    ]
    latencies: list[tuple[str, Deployment, Latency]] = [
        (label, file, latency) for label, file in deployed for latency in file.latency
    ]
    return {
        "changed_fields": changed_fields(inputs.configuration),
        "judged": _by_attribute(analysis, shown=True),
        "unjudged": _by_attribute(analysis, shown=False),
        "score_rows": labels.score_rows(names),
        "detection_rows": labels.detection_rows(names),
        "comparisons": sorted(analysis.comparisons, key=lambda comparison: comparison.network != analysis.primary),
        "demographics_by_partition": _by_partition(analysis.demographics[1:]),
        "volume_pairs": _volume_pairs(analysis),
        "threshold_rows": _threshold_rows(analysis),
        "robustness_by_name": _by_disturbance(analysis.robustness),
        "deployment_rows": deployed,
        "latency_rows": latencies,
        "processors": list(dict.fromkeys(file.processor for _, file in deployed)),
    }


def _as_yaml(value: Any) -> str:
    """A value on one line, as it would be written in a configuration file."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def _by_attribute(analysis: Analysis, *, shown: bool) -> list[tuple[AttributeAnalysis, list[Subgroup]]]:
    """Groups that are shown with their figures, or those that are counted alone; attributes without any left out."""
    least = analysis.statistics.min_subgroup
    found = (
        (attribute, [group for group in attribute.groups if group.is_shown(least) == shown])
        for attribute in analysis.verdict.attributes
    )
    return [(attribute, groups) for attribute, groups in found if groups]


def _by_partition(demographics: Sequence[Demographics]) -> list[tuple[str, list[Demographics]]]:
    parts: dict[str, list[Demographics]] = {}
    for entry in demographics:
        parts.setdefault(entry.partition, []).append(entry)
    return list(parts.items())


def _volume_pairs(analysis: Analysis) -> list[tuple[VolumePoint, VolumePoint]]:
    pruned = {point.patient_id: point for point in analysis.pruned.volume.points}
    return [(point, pruned[point.patient_id]) for point in analysis.dense.volume.points if point.patient_id in pruned]


def _threshold_rows(analysis: Analysis) -> list[tuple[ThresholdPoint, ThresholdPoint]]:
    """Every twentieth of the way, dense beside pruned."""
    pruned = {point.threshold: point for point in analysis.pruned.threshold.points}
    return [
        (point, pruned[point.threshold])
        for point in analysis.dense.threshold.points
        if point.threshold in pruned and round(100 * point.threshold) % 5 == 0
    ]


def _by_disturbance(curves: Sequence[RobustnessCurve]) -> dict[str, list[RobustnessCurve]]:
    grouped: dict[str, list[RobustnessCurve]] = {}
    for curve in curves:
        grouped.setdefault(curve.disturbance, []).append(curve)
    return grouped


def _by_heading(guideline: Guideline) -> list[tuple[str, list[Item]]]:
    return [(heading, list(items)) for heading, items in groupby(guideline.items, key=lambda item: item.heading)]


def _with_tumour(cases: Cases) -> int:
    return cases.n_patients - cases.n_both_empty - cases.n_false_alarm


def _partition_score(network: NetworkAnalysis, partition: str) -> PartitionScore | None:
    return next((score for score in network.partitions if score.partition == partition), None)
