"""What decides a verdict, frozen when training begins: a record that checks itself, and how a later value stands to it.

A margin that is chosen after the figures are known proves nothing. The plan is written into the run folder before the
first step, and the trained network carries it in its history, so that neither can be exchanged alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from wcr_med.config import Config, EvaluationConfig, PruningConfig, RepairName, ReportConfig
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_json, write_json
from wcr_med.metrics.verdict import MIN_PATIENTS, PROCEDURE
from wcr_med.provenance import provenance

SCHEMA_VERSION = 1
PLAN_NAME = "plan.json"
PRIMARY_METRIC = "dice_patient"

_EVALUATION = (
    "threshold",
    "tolerance_px",
    "lesion_min_voxels",
    "margin",
    "worse_by",
    "confidence",
    "resamples",
)
_LADDER = "ladder"  # of pruning: networks that get no verdict
_FURTHER = "pruning.also"  # networks beside the one of the verdict; adding one changes nothing for it

_REPAIRS = frozenset(RepairName.__args__)  # type: ignore[attr-defined] # a Literal
_SHOWN = 4  # differing fields named in a sentence

Fields = Mapping[str, Any]
Step = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """All that decides a verdict, as it was when training began.

    Attributes:
        made: UTC, "2026-05-04T10:20:30Z".
        commit: of the code, as in `wcr_med.provenance.provenance`; `None` outside a repository.
        fields: by dotted name; see `decisions_of`. JSON-ready.
        splits: hashes of the partitions, sorted: one of a hold-out, one for each fold of a study.
    """

    made: str
    commit: str | None
    fields: Fields
    splits: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, splits: Sequence[str]) -> Self:
        """The plan of a configuration, made now."""
        return cls(
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=provenance(seed=None)["commit"],
            fields=decisions_of(config),
            splits=tuple(sorted(splits)),
        )

    @property
    def sha256(self) -> str:
        """Of everything in it, 64 hexadecimal digits."""
        return sha256_of_json(self._content())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with its hash; `from_dict` reads it back."""
        return {**self._content(), "sha256": self.sha256}

    def _content(self) -> dict[str, Any]:
        content = asdict(self)
        return {"schema_version": SCHEMA_VERSION, **content, "splits": list(self.splits)}

    @classmethod
    def from_dict(cls, document: Any, *, source: str) -> Self:
        """Read what `to_dict` wrote, and check the hash.

        Raises:
            UserError: another schema, a field is missing or wrong, or the hash does not fit.
        """
        advice = "restore the file from a copy; without it the report gives no verdict"
        if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
            raise UserError(f"{source}: not a plan of schema version {SCHEMA_VERSION}; {advice}")
        made, commit, fields, splits = (document.get(name) for name in ("made", "commit", "fields", "splits"))
        if (
            not isinstance(made, str)
            or not isinstance(commit, str | None)
            or not isinstance(fields, dict)
            or not isinstance(splits, list)
            or not all(isinstance(split, str) for split in splits)
        ):
            raise UserError(f"{source}: a field of the plan is missing or of another kind; {advice}")
        plan = cls(made=made, commit=commit, fields=fields, splits=tuple(splits))
        if plan.to_dict() != document:
            raise UserError(f"{source}: was changed after it was written, its SHA-256 does not fit; {advice}")
        return plan

    def save(self, folder: Path) -> None:
        """Write plan.json into a run folder, whole or not at all."""
        write_json(folder / PLAN_NAME, self.to_dict())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The plan of a run folder; `None` where there is none.

        Raises:
            UserError: it is damaged or was changed.
        """
        path = folder / PLAN_NAME
        return cls.from_dict(read_json(path), source=str(path)) if path.exists() else None


def decisions_of(config: Config) -> dict[str, Any]:
    """All that decides a verdict besides the patients, by dotted name, JSON-ready.

    The verdict's procedure and metric, its smallest number of patients, every field of section evaluation but the batch
    size, report.min_subgroup, seed, and the fields of section pruning that make the networks.
    """
    document = config.model_dump(mode="json")
    pruning = {name: value for name, value in document["pruning"].items() if name != _LADDER}
    return {
        "verdict.procedure": PROCEDURE,
        "verdict.metric": PRIMARY_METRIC,
        "verdict.min_patients": MIN_PATIENTS,
        **{f"evaluation.{name}": document["evaluation"][name] for name in _EVALUATION},
        "report.min_subgroup": document["report"]["min_subgroup"],
        "seed": document["seed"],
        **{f"pruning.{name}": value for name, value in pruning.items()},
    }


def differing(plan: StudyPlan, fields: Fields) -> tuple[tuple[str, Any, Any], ...]:
    """Name, planned value and value now of every field that differs, by name.

    A field that is younger than the plan was planned at its default; one that is gone is "not there" now. pruning.also
    is left out: further networks change nothing for the one of the verdict.
    """
    planned = {name: _default(name) for name in fields} | dict(plan.fields)
    return tuple(
        (name, value, fields.get(name, "not there"))
        for name, value in sorted(planned.items())
        if name != _FURTHER and value != fields.get(name, "not there")
    )


def _default(name: str) -> Any:
    section, _, field = name.partition(".")
    kind = {"evaluation": EvaluationConfig, "pruning": PruningConfig, "report": ReportConfig}.get(section)
    return "not there" if kind is None else kind().model_dump(mode="json").get(field, "not there")


def require_held(plan: StudyPlan, config: Config, *, source: str) -> None:
    """Refuse to go on in a run folder with other rules of evaluation than those it was planned with.

    Fields of section pruning may differ, since a run folder may hold several pruned networks; the report gives a
    verdict on the planned one alone.

    Raises:
        UserError: naming the first field that differs, both values, and what to do.
    """
    for name, planned, now in differing(plan, decisions_of(config)):
        if name.startswith(("evaluation.", "report.")) or name == "seed":
            raise UserError(
                f"{source}: {name} was set to {shown(planned)} when training began ({plan.made}), and is {shown(now)}"
                f" now; set it back, or choose another --out. Only `wcr-med report --set` shows other values, without"
                " a verdict"
            )


@dataclass(frozen=True, kw_only=True)
class PlanStanding:
    """How a report stands to the plan of its study.

    Attributes:
        status: "planned": every rule is that of the plan, and the networks were made under it. "exploration": something
            differs, which `reason` names. "no plan": it cannot be shown when the rules were set, and `reason` says why.
        reason: one or two sentences.
        made: of the plan, UTC; `None` without one.
        sha256: of the plan; `None` without one.
        networks: names of the pruned networks that the plan speaks of, the one of the verdict first.
    """

    status: Literal["planned", "exploration", "no plan"]
    reason: str
    made: str | None = None
    sha256: str | None = None
    networks: tuple[str, ...] = ()

    @classmethod
    def without(cls, reason: str = "This run has no plan") -> Self:
        """Where there is none; `reason` without a full stop."""
        return cls(status="no plan", reason=f"{reason}, so it cannot be shown when the margin was set.")

    @property
    def set_when(self) -> str:
        """When the rules were set, for a sentence: "on 2026-05-04, before training"; empty unless planned."""
        return f"on {self.made[:10]}, before training" if self.status == "planned" and self.made else ""


NO_PLAN = PlanStanding.without()
"""Of whatever names no run folder."""


def standing_of(
    plan: StudyPlan | None,
    config: Config,
    *,
    splits: Sequence[str],
    carried: Sequence[Any],
    histories: Sequence[Sequence[Step]] = (),
) -> PlanStanding:
    """How a report of stored scores stands to the plan.

    Args:
        plan: of the run folder.
        config: of the report, assignments included.
        splits: hashes of its partitions.
        carried: the plan that each dense network has in its history, as a dictionary; `None` where it has none.
        histories: the steps that made each pruned network of the verdict.
    """
    if plan is None:
        lost = any(document is not None for document in carried)
        return PlanStanding.without(
            f"The network was trained under a plan, but {PLAN_NAME} is missing from the run folder"
            if lost
            else "This run folder holds no plan"
        )
    if not carried or any(document != plan.to_dict() for document in carried):
        return PlanStanding.without(f"The network was not trained under the {PLAN_NAME} of the run folder")
    reasons = [
        f"{name} is {shown(now)} here and {shown(planned)} in the plan"
        for name, planned, now in differing(plan, decisions_of(config))
    ]
    if sorted(splits) != list(plan.splits):
        of_plan, here = (f"{count} partition{'s' * (count != 1)}" for count in (len(plan.splits), len(splits)))
        reasons.append(f"the plan is of {of_plan}" + (f", this report of {here}" if of_plan != here else " of others"))
    reasons += dict.fromkeys(reason for history in histories for reason in _made_otherwise(plan, history))
    status: Literal["planned", "exploration"] = "exploration" if reasons else "planned"
    if reasons:
        more = len(reasons) - _SHOWN
        listed = "; ".join(reasons[:_SHOWN] + ([f"{more} more"] if more > 0 else []))
        reason = f"Not as planned at {plan.made}: {listed}."
    else:
        reason = f"Margin, level and procedure were set at {plan.made}, when training began (plan {plan.sha256[:12]})."
    return PlanStanding(status=status, reason=reason, made=plan.made, sha256=plan.sha256)


def _made_otherwise(plan: StudyPlan, history: Sequence[Step]) -> Iterator[str]:
    """Where a network's own history contradicts the plan."""
    steps = {step["step"]: step for step in history}
    planned = {name.partition(".")[2]: value for name, value in plan.fields.items() if name.startswith("pruning.")}
    found: dict[str, Any] = {
        "repair": [step["step"] for step in history if step["step"] in _REPAIRS],
        "finetune_epochs": steps.get("finetune", {}).get("epochs", 0),
    }
    pruned = steps.get("prune", {})
    recipe = pruned.get("recipe") or {name: pruned.get(name) for name in ("score", "cost_weight", "layer_floor")}
    found = dict(recipe) | found
    for name, value in found.items():
        if name in planned and planned[name] != value:
            yield f"the network was made with pruning.{name} {shown(value)}, and {shown(planned[name])} was planned"
    threshold = plan.fields.get("evaluation.threshold")
    used = steps["set_threshold"].get("threshold") if "set_threshold" in steps else "auto"
    if used != threshold:
        yield f"the network has evaluation.threshold {shown(used)}, and {shown(threshold)} was planned"


def shown(value: Any) -> str:
    """A planned value as it is typed in `--set`."""
    if isinstance(value, list):
        return f"[{','.join(shown(part) for part in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
