"""Where this report answers the items of CLAIM 2024 and TRIPOD+AI, and where it does not. See docs/model_card.md.

The crosswalk says where an item is answered, not how well: it is no assessment of a study.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from wcr_med.config import CardConfig
from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.claim_items import CLAIM_2024
from wcr_med.report.clinical.formats import listed
from wcr_med.report.clinical.guideline_items import GuidelineSpec, ItemSpec, Need
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.tripod_items import TRIPOD_AI

Status = Literal["answered", "answered in part", "not stated", "not applicable"]

_ABSENT: Mapping[Need, str] = {
    "robustness": "Robustness was not measured.",
    "clinical codes": "No clinical columns are known, only institution and missing sequences.",
    "deployment": "No exported file was measured.",
    "left-out institution": "Nothing was tested on data from elsewhere.",
    "several institutions": "The test patients are of one institution, or of unknown ones.",
}
_STILL_IN_PART: tuple[Need, ...] = ("clinical codes",)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item and its answer.

    Attributes:
        heading: of the guideline, under which it stands.
        number: as printed there.
        name: abbreviated, in our own words.
        status: "answered", "answered in part", "not stated" or "not applicable".
        sections: anchors of the report's sections that hold the answer; empty without one.
        fields: of the configuration that hold the answer, "card.funding"; only those that are stated.
        reason: one or two short sentences: what the answer is, or why there is none.
    """

    heading: str
    number: str
    name: str
    status: Status
    sections: tuple[str, ...]
    fields: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Guideline:
    """One guideline.

    Attributes:
        name: with its year; `citation` and `url` of the publication.
        n_items: whole items; an item may have several parts, each its own row.
        items: in the guideline's order.
    """

    name: str
    citation: str
    url: str
    n_items: int
    items: tuple[Item, ...]

    def count(self, status: Status) -> int:
        """How many rows have this status."""
        return sum(item.status == status for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def crosswalk(inputs: ReportInputs, analysis: Analysis) -> tuple[Guideline, ...]:
    """CLAIM 2024 and TRIPOD+AI, each item with where it is answered in the report of these inputs."""
    met = _met(inputs, analysis)
    return tuple(_guideline(spec, inputs.card, met) for spec in (CLAIM_2024, TRIPOD_AI))


def _guideline(spec: GuidelineSpec, card: CardConfig, met: Mapping[Need, bool]) -> Guideline:
    items = tuple(_item(group.heading, item, card, met) for group in spec.groups for item in group.items)
    return Guideline(name=spec.name, citation=spec.citation, url=spec.url, n_items=spec.n_items, items=items)


def _met(inputs: ReportInputs, analysis: Analysis) -> Mapping[Need, bool]:
    tested = {row.institution for row in inputs.dense.result.rows} - {"unknown"}
    return {
        "": True,
        "robustness": bool(analysis.robustness),
        "clinical codes": any(patient.clinical for patient in inputs.attributes.values()),
        "deployment": any(analysis.deployment.values()),
        "left-out institution": inputs.design == "leave-one-institution-out",
        "several institutions": len(tested) > 1,
    }


def _item(heading: str, spec: ItemSpec, card: CardConfig, met: Mapping[Need, bool]) -> Item:
    status, fields, reason = _answer(spec, card, met)
    answered = status in ("answered", "answered in part")
    return Item(
        heading=heading,
        number=spec.number,
        name=spec.name,
        status=status,
        sections=spec.sections if answered else (),
        fields=fields if answered else (),
        reason=reason,
    )


def _answer(spec: ItemSpec, card: CardConfig, met: Mapping[Need, bool]) -> tuple[Status, tuple[str, ...], str]:
    if spec.not_applicable:
        return "not applicable", (), spec.not_applicable
    if spec.unknown:
        return "not stated", (), spec.unknown
    stated = tuple(f"card.{name}" for name in spec.fields if _is_stated(getattr(card, name)))
    silent = [f"card.{name}" for name in spec.fields if f"card.{name}" not in stated]
    missing = f"Not stated: {listed(silent)}." if silent else ""
    if not met[spec.need]:
        status: Status = "answered in part" if spec.need in _STILL_IN_PART else "not stated"
        return status, stated, _ABSENT[spec.need]
    if not spec.answer and not stated:
        return "not stated", (), missing
    found = spec.answer or "Stated by the developers."
    in_part = bool(silent) or spec.partly
    return "answered in part" if in_part else "answered", stated, f"{found} {missing}".strip()


def _is_stated(value: str | None) -> bool:
    return bool(value and value.strip())
