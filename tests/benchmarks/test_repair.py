"""The table of repairs: one training, scored under several settings."""

import sys

import pytest

from benchmarks import repair
from benchmarks.repair import scores
from wcr_med.compare.scoring import Rung
from wcr_med.stages.workspace import Workspace


def test_patients_with_nothing_to_find_have_no_dice() -> None:
    rung = Rung(
        sparsity=0.9,
        repaired=True,
        threshold=0.5,
        validation_dice=0.7,
        patients={"a": (6, 2, 2), "b": (0, 0, 0), "c": (0, 4, 0)},
        kept={},
    )
    assert scores(rung) == pytest.approx((0.375, 12 / 20))


def test_a_row_a_rung(finished: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["repair", str(finished.out), "--sparsity", "0.5", "--try", "pruning.repair=[match_variance]"]
    monkeypatch.setattr(sys, "argv", [*command, "--try", "pruning.score=lamp pruning.repair=[match_variance]"])
    assert repair.main() == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 6
    assert {row.count("|") for row in rows} == {head.count("|")}
    assert [row.split("|")[2:4] for row in rows[:3]] == [[" 0% ", " no "], [" 50% ", " no "], [" 50% ", " yes "]]
    assert rows[0].split("|")[4:] == rows[3].split("|")[4:]  # the same dense network
