"""The comparison as one HTML file that needs nothing else, in the style of the report."""

import json
import math
from typing import Any

import jinja2

from wcr_med.report.clinical import formats, labels, outcomes
from wcr_med.report.document import NOTICE
from wcr_med.report.side_by_side.document import SideBySide
from wcr_med.report.side_by_side.plots import draw_difference, draw_patients


def render_comparison(comparison: SideBySide) -> str:
    """The page: verdict, runs, every metric, patients, differing fields. Every text from elsewhere is escaped."""
    environment = _environment()
    return environment.get_template("compare.html.j2").render(
        comparison=comparison,
        notice=NOTICE,
        style=environment.get_template("style.css").render(),
        verdict=verdict_words(comparison),
        score_rows=labels.score_rows({**comparison.a.scores, **comparison.b.scores}),
        bounds=outcomes.bounds_words(comparison.outcome_bounds, not_compared=comparison.not_compared),
        not_compared=outcomes.not_compared_sentence(comparison.not_compared),
        difference_plot=draw_difference(comparison, prefix="plot-difference"),
        patients_plot=draw_patients(comparison, prefix="plot-patients"),
    )


def verdict_words(comparison: SideBySide) -> tuple[str, str]:
    """The verdict in short, and with the numbers behind it."""
    verdict = comparison.verdict
    of_two = {"non-inferior": "B is non-inferior to A", "inferior": "B is inferior to A"}
    short = of_two.get(verdict.status, verdict.short)
    sentence = verdict.sentence if verdict.reason in verdict.sentence else f"{verdict.sentence} {verdict.reason}"
    return short, sentence


def _environment() -> jinja2.Environment:
    # The report's macros and style sheet serve here too, so that both look and read alike.
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("wcr_med.report.side_by_side"), jinja2.PackageLoader("wcr_med.report.clinical")]
        ),
        autoescape=jinja2.select_autoescape(("html.j2",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (formats.number, formats.span, formats.percent, formats.counted, formats.listed, labels.tests_used):
        environment.filters[function.__name__] = function
    environment.filters["p_bare"] = lambda value: formats.p_value(value).removeprefix("p ").removeprefix("= ")
    environment.filters["shown"] = _shown
    environment.tests["defined_number"] = lambda value: value is not None and math.isfinite(value)
    return environment


def _shown(value: Any) -> str:
    """A value of a configuration, as in YAML's flow style; None is "null"."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
