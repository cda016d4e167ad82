"""What must be the same for two results to stand in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from wcr_med.compare.config import CompareConfig
from wcr_med.compare.methods import Method
from wcr_med.config import Config
from wcr_med.documents import flatten
from wcr_med.training import deciding_fields

_UNUSED = {"leave_out", "institution_min"}  # a comparison refuses the first, and the second means nothing without it


def study_recipe(config: CompareConfig, methods: Sequence[Method]) -> dict[str, Any]:
    """What a study under one name holds to, JSON-ready, by dotted name; each method is one entry."""
    run, study = config.run, config.study
    shared = {
        "run": deciding_fields(run)
        | {"split": run.split.model_dump(mode="json", exclude={"fold", *_UNUSED})}
        | {"pruning": run.pruning.model_dump(mode="json", exclude={"ladder", "sparsity", "also", "repair"})},
        "study": study.model_dump(mode="json", include={"tuning_trials", "tuning_sparsity", "sparsities", "repair"}),
    }
    recipe = flatten(shared)
    del recipe["run.seed"]
    for method in methods:
        tune = None if method.tune is None else method.tune.model_dump(mode="json")
        recipe[f"methods.{method.name}"] = {"set": dict(method.settings), "tune": tune}
    return recipe


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first name that two flat recipes give different values; `None` where they agree.

    A name that only one has is no difference: methods may come and go, and an older version has fewer fields.
    """
    return next((name for name in sorted(before.keys() & now.keys()) if before[name] != now[name]), None)


def run_recipe(run: Config) -> dict[str, Any]:
    """What a trained network depends on, beside the images: the fields that a result file names."""
    return deciding_fields(run) | {"split": run.split.model_dump(mode="json", exclude=_UNUSED)}


def scoring_recipe(config: CompareConfig, method: Method, run: Config) -> dict[str, Any]:
    """What scores depend on, beside the trained network; `run` is the method's own configuration."""
    return {
        "sparsities": [] if method.dense_only else list(config.study.sparsities),
        "repair": list(config.study.repair),
        "pruning": run.pruning.model_dump(
            mode="json", include={"score", "cost_weight", "layer_floor", "repair_slices", "tune_epochs"}
        ),
    }


def agree(recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether two nested records have the same values in all fields that both have."""
    return first_difference(flatten(recorded), flatten(expected)) is None
