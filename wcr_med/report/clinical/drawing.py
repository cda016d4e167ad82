"""Which plots a report holds, and from what each is drawn."""

from collections.abc import Mapping

from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.plots.calibration import draw_reliability
from wcr_med.report.clinical.plots.distribution import draw_distribution
from wcr_med.report.clinical.plots.lesions import draw_lesions
from wcr_med.report.clinical.plots.patients import draw_patients
from wcr_med.report.clinical.plots.robustness import draw_robustness
from wcr_med.report.clinical.plots.sparsity import draw_ladder
from wcr_med.report.clinical.plots.subgroups import draw_subgroups
from wcr_med.report.clinical.plots.threshold import draw_threshold
from wcr_med.report.clinical.plots.verdict import draw_verdict
from wcr_med.report.clinical.plots.volume import draw_agreement

Figures = Mapping[str, tuple[str, ...]]
"""By name, the `<svg>` elements of a plot: several where it runs over pages, none where there is nothing to draw."""


def draw_figures(inputs: ReportInputs, analysis: Analysis) -> Figures:
    """Draw every plot of the report. Below the least number of patients for a verdict none is drawn either."""
    dense, pruned, verdict, statistics = analysis.dense, analysis.pruned, analysis.verdict, analysis.statistics
    enough = verdict.verdict.status != "too few"
    return {
        "verdict": (draw_verdict(analysis, prefix="plot-verdict"),) if enough else (),
        "patients": (draw_patients(verdict, statistics, prefix="plot-patients"),),
        "distribution": (
            draw_distribution(
                inputs.dense.result, inputs.pruned.result, label=pruned.label, prefix="plot-distribution"
            ),
        ),
        "lesions": (draw_lesions(verdict, prefix="plot-lesions"),),
        "volume": (draw_agreement(dense, pruned, prefix="plot-volume"),),
        "reliability": (draw_reliability(dense, pruned, prefix="plot-reliability"),),
        "threshold": (draw_threshold(dense, pruned, prefix="plot-threshold"),),
        "subgroups": draw_subgroups(verdict, statistics, prefix="plot-subgroups"),
        "sparsity": (draw_ladder(analysis.ladder, prefix="plot-sparsity"),) if analysis.ladder else (),
        "robustness": (draw_robustness(analysis, prefix="plot-robustness"),) if analysis.robustness else (),
    }
