"""Whether a configuration describes the networks that stored scores are of: a report prints its fields."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.config import Config
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import shown
from wcr_med.stages.facts import NetworkFacts
from wcr_med.training import deciding_fields

_SECTIONS = ("model", "preprocess", "augment", "loss", "optimizer", "training")  # as the training recorded them


def require_trained_as(config: Config, facts: Sequence[NetworkFacts], *, source: Path) -> None:
    """Refuse a configuration that says something else of the training or the threshold than the networks' histories.

    What a history does not record, in networks of older versions, is not compared.

    Args:
        config: of the report.
        facts: of one network, one for each partition.
        source: named in the message.

    Raises:
        UserError: naming the first field that differs, both values, and the way to mend it.
    """
    for one in facts:
        for name, was, now in _differing(config, one):
            raise UserError(
                f"{source}: the network was made with {name} {shown(was)}, and the configuration says {shown(now)}; set"
                f" {name} back to {shown(was)}, in config.yaml or with --set"
            )


def _differing(config: Config, facts: NetworkFacts) -> Iterator[tuple[str, Any, Any]]:
    """Field, what the network was made with, what the configuration says."""
    trained: Mapping[str, Any] = facts.step("train") or {}
    fields = deciding_fields(config)
    if "seed" in facts.provenance and facts.provenance["seed"] != config.seed:
        yield "seed", facts.provenance["seed"], config.seed
    for section in _SECTIONS:
        recorded: Any = trained.get(section)
        for name, now in fields[section].items() if isinstance(recorded, Mapping) else ():
            if name in recorded and recorded[name] != now:
                yield f"{section}.{name}", recorded[name], now
    regularizer = trained.get("regularizer")
    if isinstance(regularizer, Mapping) and regularizer.get("name") != config.regularizer.name:
        yield "regularizer.name", regularizer.get("name"), config.regularizer.name
    fixed = facts.step("set_threshold")
    if fixed is not None and config.evaluation.threshold == "auto":
        yield "evaluation.threshold", fixed.get("threshold"), "auto"
