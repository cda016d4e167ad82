"""Made-up runs of squares."""

import pytest

from tests.report.analysis.made_up import PLANNED
from tests.report.side_by_side.squares import result_of, split_of
from wcr_med.config import EvaluationConfig, ReportConfig
from wcr_med.report.side_by_side import RunEvaluation


@pytest.fixture
def make_run():
    """A run of patients and shifts: `make_run("a", {"p1": 0, "p2": 1})`."""

    def make(
        name,
        shifts,
        *,
        splits=None,
        configuration=None,
        margin=0.02,
        phantom=False,
        min_subgroup=3,
        plan=PLANNED,
        **options,
    ):
        splits = splits or (split_of(shifts),)
        return RunEvaluation(
            name=name,
            network="pruned-90",
            result=result_of(shifts, split=splits[0], **options),
            splits=splits,
            evaluation=EvaluationConfig(resamples=50, margin=margin),
            settings=ReportConfig(permutations=50, min_subgroup=min_subgroup),
            configuration=configuration or {"seed": 0},
            phantom=phantom,
            plan=plan,
            planned={"evaluation.margin": margin},
        )

    return make
