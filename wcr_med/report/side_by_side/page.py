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
    paired = comparison.paired
    margin = formats.number(-paired.margin, max(2, len(f"{paired.margin:g}".partition(".")[2])))
    if not comparison.has_verdict or paired.interval is None:
        needed = max(2, comparison.min_patients)
        return "No verdict: too few patients", (
            f"{formats.counted(paired.n_patients, 'common patient')} with a difference; at least {needed} are needed"
            " before anything may be concluded."
        )
    low, high = paired.interval.low, paired.interval.high
    numbers = (
        f"the {formats.percent(paired.interval.confidence)} interval of the mean difference, B minus A,"
        f" {formats.span(low, high, signed=True)} (n = {paired.n_patients}, {formats.p_value(paired.wilcoxon_p)}"
        " against no difference, Wilcoxon signed-rank)"
    )
    short, rest = {
        "non-inferior": ("B is non-inferior to A", f"lies above {margin} as a whole"),
        "inferior": ("B is inferior to A", f"lies below {margin} as a whole"),
        "inconclusive": ("Inconclusive", f"holds {margin}: these patients cannot tell"),
    }[paired.verdict]
    sentence = f"{numbers}, {rest}."
    return short, sentence[:1].upper() + sentence[1:]


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
