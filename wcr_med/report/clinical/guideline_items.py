"""What an item of a reporting guideline asks, and where this report may answer it. Records only."""

from dataclasses import dataclass
from typing import Literal

Need = Literal["", "robustness", "clinical codes", "deployment", "left-out institution", "several institutions"]


@dataclass(frozen=True, kw_only=True)
class ItemSpec:
    """One item of a guideline.

    Attributes:
        number: as printed there: "12", "3a".
        name: abbreviated, in our own words.
        sections: anchors of the report's sections that answer it.
        answer: what those sections say of themselves; empty where only the model card may answer.
        fields: of the configuration's section card that answer it.
        need: what must have been measured or known for `answer` to hold.
        partly: the report answers a part of the item at most.
        unknown: why this report cannot answer it at all; then nothing but this counts.
        not_applicable: why it does not apply; then nothing but this counts.
    """

    number: str
    name: str
    sections: tuple[str, ...] = ()
    answer: str = ""
    fields: tuple[str, ...] = ()
    need: Need = ""
    partly: bool = False
    unknown: str = ""
    not_applicable: str = ""


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Items under one heading of a guideline."""

    heading: str
    items: tuple[ItemSpec, ...]


@dataclass(frozen=True, kw_only=True)
class GuidelineSpec:
    """A guideline.

    Attributes:
        name: with its year.
        citation: of the publication.
        url: of the same.
        n_items: whole items; an item may have several parts.
        groups: in its own order.
    """

    name: str
    citation: str
    url: str
    n_items: int
    groups: tuple[GroupSpec, ...]
