"""All plots of a report at once."""

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Each an `<svg>` element as text, safe to put into HTML; what cannot be drawn says so in words.

    Attributes:
        verdict: the difference of every pruned network against the margin; low, for the first screen.
        patients: Dice of every patient, dense to pruned.
        distribution: scores of single patients, dense beside pruned.
        lesions: Dice of each lesion against its size.
        agreement: Bland-Altman.
        reliability: with counts.
        threshold: sensitivity to it.
        subgroups: forest plot, one part or several, each at most a page.
        ladder: Dice against sparsity.
        robustness: small multiples.
    """

    verdict: str
    patients: str
    distribution: str
    lesions: str
    agreement: str
    reliability: str
    threshold: str
    subgroups: tuple[str, ...]
    ladder: str
    robustness: str


def draw_plots(inputs: ReportInputs, analysis: Analysis) -> Plots:
    """Draw everything, of the dense and the primary pruned network. The same inputs give the same bytes."""
    comparison, statistics = analysis.verdict, analysis.statistics
    dense, pruned = analysis.dense, analysis.pruned
    return Plots(
        verdict=draw_verdict(analysis, prefix="plot-verdict"),
        patients=draw_patients(comparison, statistics, prefix="plot-patients"),
        distribution=draw_distribution(
            inputs.dense.result, inputs.pruned.result, label=comparison.label, prefix="plot-distribution"
        ),
        lesions=draw_lesions(comparison, prefix="plot-lesions"),
        agreement=draw_agreement(dense, pruned, prefix="plot-agreement"),
        reliability=draw_reliability(dense, pruned, prefix="plot-reliability"),
        threshold=draw_threshold(dense, pruned, prefix="plot-threshold"),
        subgroups=draw_subgroups(comparison, statistics, prefix="plot-subgroups"),
        ladder=draw_ladder(analysis.ladder, prefix="plot-ladder"),
        robustness=draw_robustness(analysis, prefix="plot-robustness"),
    )
