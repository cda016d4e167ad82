"""What every computation of the analysis needs to know of the run."""

from dataclasses import dataclass

from wcr_med.config import EvaluationConfig, ReportConfig
from wcr_med.evaluation.plan import NO_PLAN, PlanStanding
from wcr_med.evaluation.result import EvaluationResult


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Level, draws, seed and limits.

    Attributes:
        confidence: level of the intervals.
        resamples: of the bootstrap over patients.
        permutations: of the permutation tests.
        seed: of both.
        margin: of non-inferiority in dice_patient.
        worse_by: the change of Dice that counts for a patient.
        min_subgroup: patients with a difference, below which a group is not tested for harm and gets no verdict.
        lesion_min_voxels: components of fewer voxels are no lesions.
        plan: how all of this stands to the plan of the study.
    """

    confidence: float = 0.95
    resamples: int = 2000
    permutations: int = 2000
    seed: int = 0
    margin: float = 0.02
    worse_by: float = 0.05
    min_subgroup: int = 10
    lesion_min_voxels: int = 10
    plan: PlanStanding = NO_PLAN

    @classmethod
    def of(
        cls, evaluation: EvaluationConfig, report: ReportConfig, result: EvaluationResult, plan: PlanStanding
    ) -> "Settings":
        """Those of a run; seed and smallest lesion are those of the evaluation that is compared with."""
        return cls(
            confidence=evaluation.confidence,
            resamples=evaluation.resamples,
            permutations=report.permutations,
            seed=result.seed,
            margin=evaluation.margin,
            worse_by=evaluation.worse_by,
            min_subgroup=report.min_subgroup,
            lesion_min_voxels=result.lesion_min_voxels,
            plan=plan,
        )
