"""The methods of a comparison: what each sets, and which strengths are tried."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wcr_med.compare.config import CompareConfig, MethodConfig, StudyConfig, TuneConfig
from wcr_med.config import Config, parse_config
from wcr_med.errors import UserError
from wcr_med.regularizers import build_regularizer, regularizer_class, regularizer_names
from wcr_med.stages.prune import check_pruning

_NONE = {"regularizer.name": "none"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the comparison.

    Attributes:
        name: of the row.
        label: for tables.
        settings: fields of the run by dotted name.
        tune: its strength; `None` where it has none.
        dense_only: not pruned.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tune: TuneConfig | None = None
    dense_only: bool = False

    def values(self, n_trials: int) -> tuple[float | None, ...]:
        """The strengths tried: `n_trials` on a logarithmic scale around the default, within the range.

        Neighbours differ by the factor (high / low)^(1 / n_trials). Where the default lies near an end of the range,
        all are shifted into it, so that there are always as many. (None,) for a method without a strength; one value
        where the range is one.
        """
        if self.tune is None:
            return (None,)
        low, high, default = self.tune.low, self.tune.high, self.tune.default
        if n_trials == 1 or low == high:
            return (default,)
        factor = (high / low) ** (1 / n_trials)
        half = factor ** ((n_trials - 1) / 2)
        middle = min(high / half, max(low * half, default))
        tried = (middle * factor ** (number - (n_trials - 1) / 2) for number in range(n_trials))
        # Five digits, so that a value reads the same in a database, a file and a table.
        return tuple(min(high, max(low, float(f"{value:.5g}"))) for value in tried)

    def configure(self, run: Config, *, value: float | None, seed: int, fold: int | None) -> Config:
        """The configuration of one training.

        Raises:
            UserError: a field that the method sets does not exist, or has a value that cannot be.
        """
        document = run.model_dump(mode="json")
        settings = {**self.settings, "seed": seed}
        if self.tune is not None:
            settings[self.tune.field] = value
        if fold is not None:
            settings["split.fold"] = fold
        for dotted, setting in settings.items():
            node = document
            *sections, last = dotted.split(".")
            for section in sections:
                node = node.setdefault(section, {})
                if not isinstance(node, dict):
                    raise UserError(f"method {self.name}: {dotted} is not a field: {section} is a value, not a section")
            node[last] = setting
        return parse_config(document, source=f"method {self.name}")


def standard_methods(study: StudyConfig) -> dict[str, Method]:
    """Every method that the package knows: one a registered regularizer, and the rest of the field, by name."""
    rows = [Method(name="none", label="no regularizer", settings=_NONE)]
    rows += [_regularizer(name) for name in regularizer_names()]
    rho = TuneConfig(field="optimizer.rho", low=0.01, high=0.25, default=0.05)
    robust = {"sam": "SAM", "cram_plus": "CrAM+", "s2sam": "S2SAM"}
    rows += [
        Method(name=name, label=label, settings=_NONE | {"optimizer.robust": name}, tune=rho)
        for name, label in robust.items()
    ]
    alpha = TuneConfig(field="optimizer.powerpropagation", low=1.25, high=4.0, default=2.0)
    rows.append(Method(name="powerpropagation", label="Powerpropagation", settings=_NONE, tune=alpha))
    wcr = _regularizer("wcr")
    rows += [
        Method(
            name=f"wcr_{name}",
            label=f"WCR with {robust[name]}",
            settings={**wcr.settings, "optimizer.robust": name},
            tune=wcr.tune,
        )
        for name in ("sam", "cram_plus")
    ]
    for size, features in (("bytes", study.small_bytes_features), ("latency", study.small_latency_features)):
        rows.append(
            Method(
                name=f"dense_small_{size}",
                label=f"dense, {features} features",
                settings=_NONE | {"model.features": features},
                dense_only=True,
            )
        )
    return {row.name: row for row in rows}


def chosen_methods(config: CompareConfig) -> tuple[Method, ...]:
    """The methods of a comparison, in its order.

    Raises:
        UserError: a name is unknown or stands twice, the baseline is not among them, or a method's fields are wrong.
    """
    standard = standard_methods(config.study)
    if config.methods is None:
        methods = tuple(standard.values())
    elif isinstance(config.methods, dict):
        methods = tuple(
            _known(standard, name) if section is None else _custom(name, section)
            for name, section in config.methods.items()
        )
    else:
        methods = tuple(_known(standard, name) for name in config.methods)
    if config.study.baseline not in {method.name for method in methods}:
        raise UserError(
            f"study.baseline is {config.study.baseline}, which is not among the methods; add it or change it"
        )
    names = [method.name for method in methods]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"methods: {twice[0]} stands twice; name each once")
    for method in methods:
        _check(method, config)
    return methods


def _check(method: Method, config: CompareConfig) -> None:
    """Refuse before the first training what would fail in a later one."""
    study = config.study
    for value in method.values(study.tuning_trials):
        run = method.configure(config.run, value=value, seed=config.study.seeds[0], fold=None)
        pruning = run.pruning.model_copy(  # as the study prunes and repairs
            update={"sparsity": study.sparsities[0], "also": study.sparsities, "ladder": (), "repair": study.repair}
        )
        try:
            build_regularizer(run.regularizer)
            if not method.dense_only:
                check_pruning(pruning)
        except UserError as error:
            raise UserError(f"method {method.name}: {error}") from None


def _known(standard: Mapping[str, Method], name: str) -> Method:
    if name not in standard:
        near = difflib.get_close_matches(name, standard, n=1, cutoff=0)[0]
        raise UserError(f"methods: {name!r} is not a standard method; did you mean {near}?")
    return standard[name]


def _custom(name: str, section: MethodConfig) -> Method:
    return Method(
        name=name,
        label=section.label or name,
        settings=section.set,
        tune=section.tune,
        dense_only=section.dense_only,
    )


def _regularizer(name: str) -> Method:
    kind = regularizer_class(name)
    low, high = kind.strength_range
    return Method(
        name=name,
        label=kind.label,
        settings={"regularizer.name": name},
        tune=TuneConfig(field="regularizer.strength", low=low, high=high, default=kind.default_strength),
    )
