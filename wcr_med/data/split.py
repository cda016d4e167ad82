"""Who trains, validates and tests: whole patients, institutions spread evenly, the partition known by its hash."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from wcr_med.config import ALL_SITES, SplitConfig
from wcr_med.data.index import PatientEntry
from wcr_med.data.sites import Site, institutions_of, sites
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_json, write_json

_PARTS = ("train", "validation", "test")
_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """A partition of patients. One that shares a patient between two parts cannot be built.

    Attributes:
        train: patient ids, sorted; `validation` and `test` likewise.
        seed: what drew it.
        method: "holdout", "fold 2 of 5" (folds count from 1 here, as people do), or "institution CS left out".

    Raises:
        UserError: a patient stands twice.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    method: str = "holdout"

    def __post_init__(self) -> None:
        for part in _PARTS:
            object.__setattr__(self, part, tuple(sorted(getattr(self, part))))
        counts = Counter((*self.train, *self.validation, *self.test))
        twice = sorted(patient_id for patient_id, count in counts.items() if count > 1)
        if twice:
            raise UserError(f"patient {twice[0]} stands twice in the split; make the split again")

    @property
    def hash(self) -> str:
        """SHA-256 of the three lists, 64 hexadecimal digits; seed and method do not enter, only who is where."""
        return sha256_of_json({part: list(getattr(self, part)) for part in _PARTS})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary with the hash; `from_dict` reads it back."""
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"schema_version": _SCHEMA_VERSION, **lists, "hash": self.hash}

    @classmethod
    def from_dict(cls, document: Any, *, source: str = "the split") -> "Split":
        """Read what `to_dict` wrote, and check the hash.

        Raises:
            UserError: a field is missing or of another type, a patient stands twice, or the hash does not fit.
        """
        advice = "restore the file, or delete it to make the split again"
        if not isinstance(document, dict) or document.get("schema_version") != _SCHEMA_VERSION:
            raise UserError(f"{source}: not a split of schema version {_SCHEMA_VERSION}; {advice}")
        for part in _PARTS:
            listed = document.get(part)
            if not isinstance(listed, list) or not all(isinstance(patient_id, str) for patient_id in listed):
                raise UserError(f"{source}: field {part} is not a list of patient ids; {advice}")
        if not isinstance(document.get("seed"), int) or not isinstance(document.get("method"), str):
            raise UserError(f"{source}: field seed or method is missing; {advice}")
        split = cls(
            train=tuple(document["train"]),
            validation=tuple(document["validation"]),
            test=tuple(document["test"]),
            seed=document["seed"],
            method=document["method"],
        )
        if split.hash != document.get("hash"):
            raise UserError(f"{source}: the patients do not fit the hash, so the file was changed by hand; {advice}")
        return split

    def save(self, path: Path) -> None:
        """Write the split as JSON, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Split":
        """Read a saved split, and check the hash.

        Raises:
            UserError: the file is missing, not JSON, or not a valid split.
        """
        return cls.from_dict(read_json(path), source=str(path))


def make_split(entries: Sequence[PatientEntry], config: SplitConfig) -> Split:
    """Draw a partition of patients.

    Hold-out: every part gets each institution's share of patients, by largest remainders. Folds: the test patients are
    one fold of scikit-learn's StratifiedGroupKFold, so over all folds each patient tests once; institutions with fewer
    patients than folds count as one. Leave-one-institution-out: the test patients are those of one site, see
    `wcr_med.data.sites`. Validation patients are drawn from the rest by the hold-out rule. The order of `entries` does
    not matter.

    Args:
        entries: the patients; their institution is used, their files are not read.
        config: how many, and the seed.

    Raises:
        UserError: a patient stands twice, there are too few for the configuration, there is no such institution, or
            the configuration stands for several partitions (`SplitConfig.in_turn`).
    """
    institutions = institutions_of(entries)
    rng = np.random.default_rng(config.seed)
    if config.in_turn:
        raise UserError(
            "split.fold is null or split.leave_out is all, which stands for every partition in turn: `wcr-med run` does"
            " that; for one partition give its own run folder, such as --out OUT/folds/0, or name it in the split"
        )
    if config.leave_out is not None:
        test, method = _site(sites(entries, config), config)
    elif config.folds:
        test = _fold(institutions, config)
        method = f"fold {(config.fold or 0) + 1} of {config.folds}"
    else:
        _require(
            len(institutions) > config.test_patients, len(institutions), "split.test_patients", config.test_patients
        )
        test = _draw(institutions, config.test_patients, rng)
        method = "holdout"
    rest = {patient_id: name for patient_id, name in institutions.items() if patient_id not in test}
    _require(len(rest) > config.validation_patients, len(rest), "split.validation_patients", config.validation_patients)
    validation = _draw(rest, config.validation_patients, rng)
    return Split(
        train=tuple(patient_id for patient_id in rest if patient_id not in validation),
        validation=tuple(validation),
        test=tuple(test),
        seed=config.seed,
        method=method,
    )


def _site(found: Sequence[Site], config: SplitConfig) -> tuple[set[str], str]:
    """The patients of the site that is left out, and the method in words."""
    for site in found:
        if site.name == config.leave_out:
            return set(site.patient_ids), f"{site.label} left out"
        if config.leave_out in site.institutions:
            raise UserError(
                f"split.leave_out is {config.leave_out}, which has fewer than split.institution_min"
                f" {config.institution_min} patients and belongs to the site {site.name}; set split.leave_out to"
                f" {site.name}, or lower split.institution_min"
            )
    there = ", ".join(site.name for site in found)
    raise UserError(f"split.leave_out is {config.leave_out}: no such institution; there are {there}, or {ALL_SITES}")


def _require(enough: bool, n_patients: int, field: str, value: int) -> None:
    if not enough:
        raise UserError(
            f"{field} is {value}, but there are only {n_patients} patients to draw from, and some must remain; "
            f"lower {field}, or add patients"
        )


def _draw(institutions: dict[str, str], n_drawn: int, rng: np.random.Generator) -> set[str]:
    """`n_drawn` patients, from each institution in proportion; what rounding leaves goes to the largest remainders."""
    members: dict[str, list[str]] = {}
    for patient_id, name in institutions.items():
        members.setdefault(name, []).append(patient_id)
    names = sorted(members)
    sizes = np.array([len(members[name]) for name in names])
    quota = sizes * n_drawn / sizes.sum()
    counts = np.floor(quota).astype(int)
    # Equal remainders are settled at random, or institutions late in the alphabet would never be drawn.
    order = np.lexsort((rng.random(len(names)), np.round(counts - quota, 9)))
    counts[order[: n_drawn - counts.sum()]] += 1
    drawn: set[str] = set()
    for name, count in zip(names, counts, strict=True):
        drawn.update(members[name][place] for place in rng.permutation(len(members[name]))[:count])
    return drawn


def _fold(institutions: dict[str, str], config: SplitConfig) -> set[str]:
    patient_ids = list(institutions)
    _require(len(patient_ids) >= config.folds, len(patient_ids), "split.folds", config.folds)
    sizes = Counter(institutions.values())
    strata = [name if sizes[name] >= config.folds else "few patients" for name in institutions.values()]
    splitter = StratifiedGroupKFold(n_splits=config.folds, shuffle=True, random_state=config.seed)
    with warnings.catch_warnings():
        # "few patients" may be fewer than folds; that is why they are one stratum.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        folds = [test_places for _, test_places in splitter.split(patient_ids, strata, groups=patient_ids)]
    return {patient_ids[place] for place in folds[config.fold or 0]}
