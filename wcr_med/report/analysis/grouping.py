"""Test patients by attribute: institution, tumour size, missing sequence, columns of data.csv.

Every attribute divides the patients: each is in one group.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wcr_med.data.attributes import PatientAttributes
from wcr_med.evaluation.rows import PatientRow

NOT_STATED = "not stated"
NO_TUMOUR = "no tumour"
MOST_CODES = 8
"""Codes of a column; a number with more values is cut into thirds, a text with more makes no subgroups."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """One attribute.

    Attributes:
        attribute: "institution", "tumour size", "missing sequence", or a column of data.csv.
        label: for headings.
        groups: names, in the order of tables; "not stated" last.
        group_of: by patient id.
    """

    attribute: str
    label: str
    groups: tuple[str, ...]
    group_of: Mapping[str, str]


def groupings(
    rows: Sequence[PatientRow],
    attributes: Mapping[str, PatientAttributes],
    *,
    columns: Sequence[str] | None,
) -> tuple[Grouping, ...]:
    """Every attribute that has something to say about the test patients.

    Institution, tumour size and missing sequence are always among them. Columns are those that are asked for and hold
    a value for a test patient; `None`: those with 2 to `MOST_CODES` codes among the test patients, and numbers with
    more, cut into thirds.

    Args:
        rows: of the test patients.
        attributes: by patient id, of all of them.
        columns: `report.subgroup_columns`.
    """
    found = [
        _by_code("institution", "Institution", {row.patient_id: row.institution for row in rows}),
        by_size(rows),
        _by_code("missing sequence", "Missing sequence", {row.patient_id: _missing(attributes, row) for row in rows}),
    ]
    clinical = {row.patient_id: attributes[row.patient_id].clinical for row in rows}
    for column in clinical_columns(clinical.values()) if columns is None else columns:
        codes = {patient_id: codes[column] for patient_id, codes in clinical.items() if column in codes}
        grouping = _by_column(column, codes, tuple(clinical), asked=columns is not None)
        if grouping is not None:
            found.append(grouping)
    return tuple(found)


def by_size(rows: Sequence[PatientRow]) -> Grouping:
    """Thirds of the patients with a tumour, by its volume; patients without one are a group of their own."""
    known = all(math.isfinite(row.voxel_ml) for row in rows)
    unit = "ml" if known else "voxels"
    with_tumour = [row for row in rows if row.tp + row.fn > 0]
    volumes = {row.patient_id: (row.tp + row.fn) * (row.voxel_ml if known else 1.0) for row in with_tumour}
    thirds = cut_in_thirds(volumes, unit=unit)
    group_of = {row.patient_id: thirds[1].get(row.patient_id, NO_TUMOUR) for row in rows}
    rest = (NO_TUMOUR,) if len(with_tumour) < len(rows) else ()
    return Grouping(attribute="tumour size", label="Tumour size", groups=thirds[0] + rest, group_of=group_of)


def cut_in_thirds(values: Mapping[str, float], *, unit: str = "") -> tuple[tuple[str, ...], dict[str, str]]:
    """Cut at the 1/3 and 2/3 quantiles (linear interpolation); equal values stay together, so thirds may be uneven.

    Returns:
        Names of the groups ("18 to 34") by rising value, and the group of each patient.
    """
    if not values:
        return (), {}
    cuts = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    third_of = {patient_id: int(np.searchsorted(cuts, value, side="left")) for patient_id, value in values.items()}
    names = {}
    for third in sorted(set(third_of.values())):
        inside = [values[patient_id] for patient_id, its in third_of.items() if its == third]
        low, high = _text(min(inside)), _text(max(inside))
        names[third] = " ".join(([low] if low == high else [low, "to", high]) + ([unit] if unit else []))
    return tuple(dict.fromkeys(names.values())), {patient_id: names[third] for patient_id, third in third_of.items()}


def clinical_columns(records: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Every column that holds a value for one of the patients, in the order of first sight."""
    return tuple(dict.fromkeys(column for record in records for column in record))


def as_numbers(codes: Mapping[str, str]) -> dict[str, float] | None:
    """The codes as finite numbers; `None` if one is not."""
    try:
        numbers = {patient_id: float(code) for patient_id, code in codes.items()}
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers.values())) else None


def many_numbers(codes: Mapping[str, str]) -> dict[str, float] | None:
    """The codes as numbers where there are more than `MOST_CODES` different ones; else `None`."""
    return as_numbers(codes) if len(set(codes.values())) > MOST_CODES else None


def _by_column(column: str, codes: Mapping[str, str], patients: Sequence[str], *, asked: bool) -> Grouping | None:
    numbers = many_numbers(codes)
    n_codes = len(set(codes.values()))
    if n_codes == 0 or (not asked and (n_codes < 2 or (n_codes > MOST_CODES and numbers is None))):
        return None
    if numbers is not None:
        groups, stated = cut_in_thirds(numbers)
        group_of = {patient_id: stated.get(patient_id, NOT_STATED) for patient_id in patients}
        if len(stated) < len(patients):
            groups = (*groups, NOT_STATED)
        return Grouping(attribute=column, label=column, groups=groups, group_of=group_of)
    return _by_code(column, column, {patient_id: codes.get(patient_id, NOT_STATED) for patient_id in patients})


def _by_code(attribute: str, label: str, group_of: Mapping[str, str]) -> Grouping:
    names = sorted(set(group_of.values()), key=_order)
    return Grouping(attribute=attribute, label=label, groups=tuple(names), group_of=dict(group_of))


def _order(code: str) -> tuple[bool, float, str]:
    """Numbers by value, then texts, "not stated" last."""
    number = as_numbers({"": code})
    return code == NOT_STATED, math.inf if number is None else number[""], code


def _missing(attributes: Mapping[str, PatientAttributes], row: PatientRow) -> str:
    return " and ".join(attributes[row.patient_id].missing_sequences) or "none missing"


def _text(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
