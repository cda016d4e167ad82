"""Institutions as they are left out, one after another: those with few patients together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wcr_med.config import OTHER_SITE, SplitConfig
from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is left out together: an institution, or all of those that have few patients.

    Attributes:
        name: the institution, or "other".
        institutions: one, or those that "other" stands for; sorted.
        patient_ids: sorted.
    """

    name: str
    institutions: tuple[str, ...]
    patient_ids: tuple[str, ...]

    @property
    def label(self) -> str:
        """For headings: "institution CS", "institutions EZ and QQ"."""
        several = len(self.institutions) > 1
        return f"institution{'s' * several} {' and '.join(self.institutions)}"


def sites(entries: Sequence[PatientEntry], config: SplitConfig) -> tuple[Site, ...]:
    """The sites that leave-one-institution-out leaves out, one after another; each patient belongs to one.

    Institutions with fewer than `config.institution_min` patients make up the site "other", which comes last and may
    itself be small; the rest are sorted by name.

    Raises:
        UserError: a patient stands twice, or there are fewer than two sites.
    """
    members: dict[str, list[str]] = {}
    for patient_id, name in institutions_of(entries).items():
        members.setdefault(name, []).append(patient_id)
    large = [name for name in sorted(members) if len(members[name]) >= config.institution_min]
    small = [name for name in sorted(members) if name not in large]
    found = [Site(name=name, institutions=(name,), patient_ids=tuple(members[name])) for name in large]
    if small:
        together = sorted(patient_id for name in small for patient_id in members[name])
        found.append(Site(name=OTHER_SITE, institutions=tuple(small), patient_ids=tuple(together)))
    if len(found) < 2:
        listed = ", ".join(f"{name} ({len(members[name])})" for name in sorted(members)) or "none"
        raise UserError(
            f"leave-one-institution-out needs two sites of at least {config.institution_min} patients; there are"
            f" {listed}; lower split.institution_min, or use split.folds"
        )
    return tuple(found)


def institutions_of(entries: Sequence[PatientEntry]) -> dict[str, str]:
    """Patient id to institution, sorted by patient id.

    Raises:
        UserError: a patient stands twice.
    """
    found = {entry.patient_id: entry.institution for entry in sorted(entries, key=lambda entry: entry.patient_id)}
    if len(found) != len(entries):
        twice = [name for name, count in Counter(entry.patient_id for entry in entries).items() if count > 1]
        raise UserError(f"patient {min(twice)} stands twice in the index; remove one of its folders")
    return found
