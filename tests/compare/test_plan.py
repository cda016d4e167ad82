"""Methods, the strengths they try, and the order of the cells."""

from collections.abc import Callable

import pytest

from wcr_med.compare.config import CompareConfig, TuneConfig
from wcr_med.compare.methods import Method, chosen_methods, standard_methods
from wcr_med.compare.plan import Cell, choose_values, final_cells, places, tuning_cells
from wcr_med.errors import UserError
from wcr_med.regularizers import regularizer_names

Build = Callable[..., CompareConfig]
TUNE = TuneConfig(field="regularizer.strength", low=0.01, high=1.0, default=0.1)


def method(name: str, tune: TuneConfig | None = TUNE) -> Method:
    return Method(name=name, label=name, settings={"regularizer.name": "l1"}, tune=tune)


def test_strengths_lie_around_the_default_within_the_range() -> None:
    assert method("a").values(1) == (0.1,)
    assert method("a").values(3) == pytest.approx((0.1 / 100 ** (1 / 3), 0.1, 0.1 * 100 ** (1 / 3)), rel=1e-4)
    assert method("a").values(2) == pytest.approx((0.1 / 100**0.25, 0.1 * 100**0.25), rel=1e-4)
    assert method("a", None).values(3) == (None,)


def test_every_standard_method_tries_as_many_strengths_and_configures(comparison: Build) -> None:
    config = comparison(None)
    methods = chosen_methods(config)
    assert {"none", "sam", "cram_plus", "s2sam", "powerpropagation", "wcr_sam", "wcr_cram_plus"} <= {
        row.name for row in methods
    }
    assert set(regularizer_names()) <= {row.name for row in methods}
    for row in methods:
        values = row.values(3)
        assert len(values) == (1 if row.tune is None or row.tune.low == row.tune.high else 3), row.name
        for value in values:
            row.configure(config.run, value=value, seed=5, fold=None)


def test_a_method_sets_its_fields_and_nothing_else(comparison: Build) -> None:
    run = comparison().run
    configured = standard_methods(comparison().study)["wcr_sam"].configure(run, value=3e-6, seed=7, fold=None)
    assert configured.regularizer.name == "wcr"
    assert configured.regularizer.strength == 3e-6
    assert configured.optimizer.robust == "sam"
    assert configured.seed == 7
    expected = run.model_dump()
    expected["seed"] = 7
    expected["regularizer"] |= {"name": "wcr", "strength": 3e-6}
    expected["optimizer"] |= {"robust": "sam"}
    assert configured.model_dump() == expected


def test_an_unknown_method_names_the_nearest(comparison: Build) -> None:
    with pytest.raises(UserError, match="'wcr_quantil' is not a standard method; did you mean wcr_quantile"):
        chosen_methods(comparison(["none", "wcr_quantil"]))


def test_a_field_that_does_not_exist_names_method_and_field(comparison: Build) -> None:
    methods = {"none": None, "mine": {"set": {"regularizer.nam": "l1"}}}
    with pytest.raises(
        UserError, match=r"method mine: regularizer\.nam is not a field; did you mean regularizer\.name"
    ):
        chosen_methods(comparison(methods))


def test_the_baseline_must_be_there(comparison: Build) -> None:
    with pytest.raises(UserError, match=r"study\.baseline is none"):
        chosen_methods(comparison(["l1"]))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ((0, None), (1, None))),
        ({"folds": [2, 0]}, ((0, 2), (1, 0))),
        ({"folds": [0, 1], "cross": True}, ((0, 0), (0, 1), (1, 0), (1, 1))),
    ],
)
def test_seeds_meet_folds(comparison: Build, fields: dict[str, object], expected: object) -> None:
    run = {"split": {"validation_patients": 2, "test_patients": 3, "folds": 3}}
    assert places(comparison(run=run, **fields).study) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"folds": [0, 1, 2]}, "cannot be paired"), ({"folds": [0, 5]}, "names fold 0, but run.split.folds is 0")],
)
def test_folds_that_cannot_be(comparison: Build, fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        comparison(**fields)


def test_tuning_goes_round_by_round_and_finals_seed_by_seed(comparison: Build) -> None:
    study = comparison(tuning_trials=2).study
    rows = [method("a"), method("b"), method("c", None)]
    tuning = tuning_cells(rows, study)
    assert [(cell.seed, cell.method, cell.value) for cell in tuning] == [
        (seed, name, rows[0].values(2)[number]) for seed in range(2) for number in range(2) for name in "ab"
    ]
    assert {cell.phase for cell in tuning} == {"tune"}
    finals = final_cells(rows, study, {("a", (0, None)): 0.2, ("c", (0, None)): None, ("c", (1, None)): None})
    assert [(cell.method, cell.seed) for cell in finals] == [("a", 0), ("c", 0), ("c", 1)]


def test_the_best_score_wins_and_unfinished_methods_wait(comparison: Build) -> None:
    study = comparison(tuning_trials=2).study
    rows = [method("a"), method("b"), method("c", None)]
    cells = tuning_cells(rows, study)
    scores: dict[str, float | None] = {cells[0].key: 0.5, cells[2].key: 0.7, cells[1].key: 0.9}
    first, second = places(study)
    assert choose_values(rows, study, scores) == {("a", first): cells[2].value, ("c", first): None, ("c", second): None}
    scores[cells[3].key] = None  # failed
    assert choose_values(rows, study, scores)["b", first] == cells[1].value


def test_every_place_is_tuned_by_its_own_validation_patients(comparison: Build) -> None:
    study = comparison(tuning_trials=2).study
    cells = tuning_cells([method("a")], study)
    scores = dict(zip((cell.key for cell in cells), (0.5, 0.7, 0.9, 0.1), strict=True))
    first, second = places(study)
    assert choose_values([method("a")], study, scores) == {
        ("a", first): cells[1].value,
        ("a", second): cells[2].value,
    }


def test_a_cell_reads_back() -> None:
    cell = Cell(phase="final", method="a", value=0.1, seed=1, fold=None)
    assert Cell.from_dict(cell.to_dict()) == cell
    assert cell.key == "final/a/0.1/1/None"
