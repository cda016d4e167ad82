"""The comparisons in configs/: valid, complete, and able to start."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from wcr_med.compare.config import CompareConfig, load_compare_config
from wcr_med.compare.stage import plan_text
from wcr_med.documents import field_names
from wcr_med.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("compare_*.yaml"))  # the phantom is the last


def names(document: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in document.items():
        found |= {prefix + key} | (names(value, f"{prefix}{key}.") if isinstance(value, dict) else set())
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_comparison_is_complete_and_can_be_planned(path: Path) -> None:
    assert "final cells" in plan_text(load_compare_config(path))
    document = yaml.safe_load(path.read_text())
    document["methods"] = None  # named by whoever compares
    document["run"]["data"]["nifti"]["channels"] = None  # a value: names and patterns
    assert names(document) == set(field_names(CompareConfig))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("study.seedz=[0]", "study.seedz is not a field; did you mean study.seeds?"),
        ("run.training.epoch=1", "run.training.epoch is not a field; did you mean run.training.epochs?"),
        ("study.seeds=[0, 0]", "seeds holds 0 twice"),
        ("study.sparsities=[0.0, 0.95]", "sparsities holds 0: the dense network is scored anyway"),
        ("study.tuning_sparsity=0.97", "tuning_sparsity is 0.97, which is not in sparsities"),
        ("methods=wcr", "'wcr' is neither null, nor a list of names, nor methods by name"),
        ("methods=[none, none]", "none stands twice"),
        ("methods=[none, wrc]", "'wrc' is not a standard method; did you mean wcr?"),
        ("methods={none: 3}", "methods.none: 3 is not a method"),
        ("methods={none: {sett: {}}}", "methods.none: sett is not a field; did you mean set?"),
        ("methods={none: {set: {seed.x: 1}}}", "method none: seed.x is not a field: seed is a value"),
        ("methods={none: {set: {regularizer.name: wrc}}}", "method none: regularizer.name: 'wrc' is not a regularizer"),
        ("study.repair=[tune_biases, match_variance]", "pruning.repair: match_variance must come first"),
        ("study.sparsities=[0.95, 0.9995]", "0.9995, but pruning.layer_floor 0.001 leaves at most 0.999"),
        (
            "methods={none: {set: {pruning.score: layer_magnitude, pruning.cost_weight: 0.5}}}",
            "method none: pruning.cost_weight is 0.5",
        ),
        (
            "methods={none: {tune: {field: optimizer.rho, low: 1, high: 0.1, default: 0.5}}}",
            "methods.none: tune: low, default and high are 1, 0.5, 0.1: not in order",
        ),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_starts(assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_text(load_compare_config(CONFIGS[-1], [assignment]))
    assert message in str(caught.value)
