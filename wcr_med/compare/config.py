"""The configuration of a comparison: the recipe that all methods share, the study, the methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from wcr_med.config import Config, Count, Fraction, RepairName, Section
from wcr_med.documents import check_document, read_document
from wcr_med.errors import UserError, shown


class TuneConfig(Section):
    """Which field of the run is a method's strength, and where it is looked for."""

    field: str = Field(description="Dotted name of a field of the run, such as regularizer.strength")
    low: float = Field(gt=0, description="Lowest value tried")
    high: float = Field(gt=0, description="Highest value tried")
    default: float = Field(gt=0, description="The middle of what is tried, and the value without tuning")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"low, default and high are {self.low:g}, {self.default:g}, {self.high:g}: not in order")
        return self


class MethodConfig(Section):
    """One row of the comparison."""

    label: str = Field("", description="A few words for tables; empty: the name")
    set: dict[str, Any] = Field({}, description="Fields of the run by dotted name, as with --set")
    tune: TuneConfig | None = Field(None, description="Its strength; null: it has none")
    dense_only: bool = Field(False, description="A dense rival: trained and scored, not pruned")


class StudyConfig(Section):
    """Which trainings there are, and how they are scored."""

    name: str = Field("compare", min_length=1, description="Name of the study in its database")
    storage: str | None = Field(
        None,
        description="Database URL without a password, for several machines; null: the SQLite file study.db in --out",
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="Seeds of the final trainings")
    folds: tuple[int, ...] = Field((), description="Folds of run.split.folds; empty: run.split as it is")
    cross: bool = Field(False, description="Every seed with every fold; off: the first seed with the first fold, ...")
    tuning_trials: Count = Field(
        3, description="Strengths tried for every method, on validation patients; 1: its default, untuned"
    )
    tuning_sparsity: Fraction = Field(
        0.95, description="Which of the sparsities a strength is judged at, after repair; unused with one trial"
    )
    sparsities: tuple[Fraction, ...] = Field(
        (0.9, 0.95, 0.98), min_length=1, description="Where methods are scored, beside dense"
    )
    repair: tuple[RepairName, ...] = Field(("reestimate_statistics",), description="As pruning.repair, for all methods")
    baseline: str = Field("none", description="The method that the others are set against")
    small_bytes_features: Count = Field(
        4, description="model.features of the dense network about as small as a pruned one in bytes"
    )
    small_latency_features: Count = Field(
        8, description="model.features of the dense network about as fast as a pruned one"
    )
    keep_weights: bool = Field(True, description="Keep each trained network, 4 bytes a weight; checkpoints go")

    @field_validator("storage")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        """Configurations, commands and messages are written and shown."""
        if url is not None and urlsplit(url).password:
            raise UserError(
                "study.storage: the URL holds a password, which would stand in config.yaml and compare.md; leave it out"
                " and set PGPASSWORD or a pgpass file (PostgreSQL)"
            )
        return url

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if not self.cross and self.folds and len(self.folds) != len(self.seeds):
            raise ValueError(
                f"{len(self.seeds)} seeds and {len(self.folds)} folds cannot be paired: give as many, or set cross"
            )
        for name, values in (("seeds", self.seeds), ("folds", self.folds), ("sparsities", self.sparsities)):
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{name} holds {twice[0]:g} twice; name each once")
        if 0 in self.sparsities:
            raise ValueError("sparsities holds 0: the dense network is scored anyway; leave it out")
        if self.tuning_trials > 1 and self.tuning_sparsity not in self.sparsities:
            raise ValueError(f"tuning_sparsity is {self.tuning_sparsity:g}, which is not in sparsities; add it there")
        return self


class CompareConfig(Section):
    """A whole comparison."""

    run: Config
    study: StudyConfig = StudyConfig()
    methods: tuple[str, ...] | dict[str, MethodConfig | None] | None = Field(
        None, description="null: every standard method; names of some; or by name, null for a standard one"
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _one_kind(cls, given: Any) -> Any:
        """Say what is wrong in terms of the file; the union itself would tell of every kind that does not fit."""
        if isinstance(given, dict):
            return {name: _own_method(name, section) for name, section in given.items()}
        if isinstance(given, list) and all(isinstance(name, str) for name in given):
            return tuple(given)
        if given is not None and not isinstance(given, tuple):
            raise UserError(f"methods: {shown(given)} is neither null, nor a list of names, nor methods by name")
        return given

    @model_validator(mode="after")
    def _folds_exist(self) -> Self:
        wrong = [fold for fold in self.study.folds if not 0 <= fold < self.run.split.folds]
        if wrong:
            raise ValueError(f"study.folds names fold {wrong[0]}, but run.split.folds is {self.run.split.folds}")
        return self

    @model_validator(mode="after")
    def _patients_are_held_out_or_folded(self) -> Self:
        if self.run.split.leave_out is not None:
            raise ValueError("run.split.leave_out is set: a comparison has a hold-out or folds; set it to null")
        return self


def _own_method(name: str, section: Any) -> MethodConfig | None:
    if section is None or isinstance(section, MethodConfig):
        return section
    if not isinstance(section, dict):
        raise UserError(
            f"methods.{name}: {shown(section)} is not a method; give set and tune, or null for a standard one"
        )
    return check_document(MethodConfig, section, source=f"methods.{name}")


def load_compare_config(path: Path, assignments: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison's YAML file; `assignments` are `study.seeds=[0]` and the like.

    Raises:
        UserError: as `wcr_med.config.load_config`.
    """
    return check_document(CompareConfig, read_document(path, assignments), source=str(path))
