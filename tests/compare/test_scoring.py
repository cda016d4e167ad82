"""The ladder of one network, on six patients in memory."""

from collections.abc import Sequence

import pytest

from tests.training.tiny import SPLIT, tiny_cache, tiny_config
from wcr_med.compare.scoring import Rung, score_ladder
from wcr_med.config import RepairName
from wcr_med.models import build_model

STEPS: tuple[RepairName, ...] = ("match_variance", "tune_biases")


def ladder(score: str, repair: Sequence[RepairName]) -> list[Rung]:
    config = tiny_config(pruning={"score": score, "repair_slices": 8})
    return score_ladder(
        build_model(config.model), tiny_cache(), SPLIT, config, sparsities=[0.5, 0.9], repair=repair, test=True
    )


@pytest.mark.parametrize("score", ["global_magnitude", "fisher"])
def test_every_rung_has_its_patients(score: str) -> None:
    rungs = ladder(score, STEPS)
    assert [(rung.sparsity, rung.repaired) for rung in rungs] == [
        (0.0, False),
        (0.5, False),
        (0.5, True),
        (0.9, False),
        (0.9, True),
    ]
    assert all(set(rung.patients or {}) == set(SPLIT.test) for rung in rungs)
    assert rungs[0].kept == {}


def test_without_repair_only_what_was_pruned_is_scored() -> None:
    assert [rung.repaired for rung in ladder("global_magnitude", ())] == [False] * 3
