"""A whole comparison on the phantom: what it trains, what it writes, and how it goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from torch import Tensor

from wcr_med.compare import stage, trial
from wcr_med.compare.config import CompareConfig
from wcr_med.compare.stage import compare_stage, plan_text
from wcr_med.errors import UserError
from wcr_med.regularizers import LossTerm, register_regularizer

Build = Callable[..., CompareConfig]


def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the trainings that really happen."""
    names: list[str] = []
    train = trial.train

    def counting(*args: object, **kwargs: object) -> object:
        names.append(str(args[3].regularizer.name))  # type: ignore[attr-defined]
        return train(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "train", counting)
    return names


def test_a_study_from_nothing_to_its_table(comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = trained(monkeypatch)
    config = comparison(["none", "l1", "dense_small_bytes"], small_bytes_features=1)
    line = compare_stage(config, tmp_path / "out", command="wcr-med compare")
    assert line.startswith("6 final cells scored, 0 left")
    # none: 2 seeds; l1: 2 strengths on each, the better one is not trained again; the rival: 2 seeds.
    assert sorted(names) == ["l1"] * 4 + ["none"] * 4
    frame = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert set(frame.method) == {"none", "l1", "dense_small_bytes"}
    l1 = frame[frame.method == "l1"]
    assert len(l1) == 2 * 5  # dense, and two sparsities with and without repair, for two metrics
    assert (l1.n_trials == 2).all()
    assert (l1.n_trainings == 2).all()
    assert frame.value.between(0, 1).all()
    assert frame[["low", "high"]].isna().all(axis=None)  # fewer than five patients have no interval
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "90 % repaired" in page
    assert "| dense, 1 features |" in page
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {
        "compare_dice_patient.svg",
        "compare_f1_pooled.svg",
        "compare_survivors.svg",
    }
    before = len(names)
    assert compare_stage(config, tmp_path / "out") == line
    assert len(names) == before  # nothing is trained twice


def test_it_goes_on_where_it_was_interrupted(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = comparison(tuning_trials=1)
    score, calls = trial.score_ladder, iter([False, True])

    def interrupted(*args: object, **kwargs: object) -> object:
        if next(calls, False):
            raise KeyboardInterrupt
        return score(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "score_ladder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare_stage(config, tmp_path / "out")
    names = trained(monkeypatch)
    assert compare_stage(config, tmp_path / "out").startswith("4 final cells scored, 0 left")
    assert len(names) == 2  # the first is done, the second is trained and only not scored


def test_result_files_alone_count_as_done(comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = comparison()
    line = compare_stage(config, tmp_path / "out")
    for path in (tmp_path / "out").glob("trials/*/*"):
        if path.name != "result.json":
            path.unlink()
    (tmp_path / "out" / "study.db").unlink()
    names = trained(monkeypatch)
    assert compare_stage(config, tmp_path / "out") == line
    assert names == []


def test_a_bounded_worker_leaves_the_rest(comparison: Build, tmp_path: Path) -> None:
    config = comparison(tuning_trials=1)
    assert compare_stage(config, tmp_path / "out", max_trials=1).startswith("1 final cells scored, 3 left")
    assert "Not trained yet: l1." in (tmp_path / "out" / "compare.md").read_text()
    assert compare_stage(config, tmp_path / "out").startswith("4 final cells scored, 0 left")


@pytest.mark.usefixtures("own_regularizers")
def test_a_new_regularizer_appears_with_no_other_change(comparison: Build, tmp_path: Path) -> None:
    @register_regularizer
    class LogSum(LossTerm):
        """The sum of log(1 + |w| / 0.01)."""

        name, label = "log_sum", "log-sum"
        default_strength, strength_range = 1e-5, (1e-6, 1e-4)

        def term(self, weights: Tensor) -> Tensor:
            return (1 + weights.abs() / 0.01).log().sum()

    assert "log_sum" in plan_text(comparison(None))
    config = comparison(["none", "log_sum"], seeds=[0], tuning_trials=1)
    compare_stage(config, tmp_path / "out")
    assert "| log-sum | 1e-05 (1) | 1 |" in (tmp_path / "out" / "compare.md").read_text()


def test_a_training_that_fails_is_named_and_the_others_go_on(
    comparison: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trial.train

    def failing(*args: object, **kwargs: object) -> object:
        if args[3].regularizer.name == "l1":  # type: ignore[attr-defined]
            raise UserError("the loss is nan at step 7")
        return train(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "train", failing)
    compare_stage(comparison(seeds=[0]), tmp_path / "out")
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["missing"] == ["l1"]
    assert {failure["message"] for failure in document["failures"]} == {"the loss is nan at step 7"}
    assert "the loss is nan at step 7" in (tmp_path / "out" / "compare.md").read_text()

    monkeypatch.setattr(trial, "train", train)
    compare_stage(comparison(seeds=[0]), tmp_path / "out", retry_failed=True)
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["missing"] == document["failures"] == []


def test_methods_of_ones_own(comparison: Build, tmp_path: Path) -> None:
    methods = {
        "none": None,
        "strong": {"label": "l1, strong", "set": {"regularizer.name": "l1", "regularizer.strength": 0.01}},
    }
    compare_stage(comparison(methods, seeds=[0]), tmp_path / "out")
    assert "| l1, strong |  | 1 |" in (tmp_path / "out" / "compare.md").read_text()


def test_the_table_alone_needs_a_finished_cell(comparison: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished cell yet"):
        compare_stage(comparison(), tmp_path / "out", table_only=True)


def test_a_damaged_result_is_left_out(comparison: Build, tmp_path: Path) -> None:
    config = comparison(seeds=[0], tuning_trials=1)
    compare_stage(config, tmp_path / "out")
    damaged = next((tmp_path / "out").glob("trials/*/result.json"))
    damaged.write_text("{")
    assert len(stage.load_results(tmp_path / "out")) == 1
