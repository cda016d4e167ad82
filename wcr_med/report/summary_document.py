"""Everything that summary.json holds. Verdict and figures are those of the report's analysis."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wcr_med.evaluation.result import SCORE_DEFINITIONS, without_nan
from wcr_med.metrics.averages import DEFINITIONS
from wcr_med.metrics.uncertainty import PairedComparison
from wcr_med.report.analysis.comparison_records import CostFigure, Flip, PatientPair, WorstDisturbance
from wcr_med.report.analysis.verdict import Verdict
from wcr_med.report.document import (
    NOTICE,
    DataSummary,
    ExportSummary,
    LadderRow,
    ModelSummary,
    NetworkSummary,
    TrainingSummary,
)

SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class SummaryDocument:
    """Everything that summary.json holds.

    Attributes:
        title: names the run.
        command: what made it, to be typed again; `None` if unknown.
        dense: the network before pruning; `pruned` the exported one.
        paired: pruned against dense in dice_patient; of the report's analysis, as are `verdict` and `pairs`.
        verdict: of non-inferiority, or why there is none.
        pairs: both scores of every patient, the largest loss first.
        cost: what pruning cost, as on the report's first screen, and `worst_disturbance` where it was measured.
        flips: patients with a change beyond its bound, the worst first; `outcome_bounds` and `not_compared` say what
            was compared.
        warnings: of the report's first screen.
        ladder: rungs in any order.
        export: `None` where nothing was exported.
        threshold_source: "validation" where thresholds were chosen on validation patients, "configuration" where set.
        provenance: of `wcr_med.provenance.provenance`.
        notes: sentences that a reader must know, such as warnings of the audit.
    """

    title: str
    command: str | None
    data: DataSummary
    model: ModelSummary
    training: TrainingSummary
    dense: NetworkSummary
    pruned: NetworkSummary
    paired: PairedComparison
    verdict: Verdict
    pairs: tuple[PatientPair, ...]
    cost: tuple[CostFigure, ...]
    worst_disturbance: WorstDisturbance | None
    flips: tuple[Flip, ...]
    outcome_bounds: Mapping[str, float]
    not_compared: tuple[str, ...]
    warnings: tuple[str, ...]
    ladder: tuple[LadderRow, ...]
    export: ExportSummary | None
    provenance: Mapping[str, Any]
    threshold_source: str = "validation"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a score that does not exist is None."""
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "notice": NOTICE,
            "definitions": {**DEFINITIONS, **SCORE_DEFINITIONS},
            **without_nan(asdict(self)),
        }
        if self.export is not None:
            document["export"]["times_smaller"] = self.export.times_smaller
        return document
