"""Who is in the data set and in each part of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from wcr_med.data.attributes import PatientAttributes
from wcr_med.report.analysis.document import Characteristic, Demographics, PartitionFacts
from wcr_med.report.analysis.grouping import as_numbers, clinical_columns, many_numbers
from wcr_med.report.clinical.inputs import Partition

PARTS = ("train", "validation", "test")


def demographics_of(
    attributes: Mapping[str, PatientAttributes], partitions: Sequence[Partition]
) -> tuple[Demographics, ...]:
    """The whole data set, then every part of every partition.

    Codes are counted; a number with more than eight different values over the whole data set is given by its quartiles
    (linear interpolation).
    """
    clinical = {patient_id: entry.clinical for patient_id, entry in attributes.items()}
    columns = clinical_columns(clinical.values())
    numbers = {
        column
        for column in columns
        if many_numbers({patient_id: codes[column] for patient_id, codes in clinical.items() if column in codes})
    }

    def of_part(partition: str, part: str, patients: Sequence[str]) -> Demographics:
        known = [attributes[patient_id] for patient_id in patients]
        missing = [sequence for entry in known for sequence in entry.missing_sequences or ("none missing",)]
        characteristics = [
            _counted("institution", [entry.institution for entry in known], len(known)),
            _counted("missing sequence", missing, len(missing)),
        ]
        for column in columns:
            codes = {entry.patient_id: entry.clinical[column] for entry in known if column in entry.clinical}
            values = as_numbers(codes) if column in numbers else None
            characteristics.append(
                _counted(column, list(codes.values()), len(known))
                if values is None
                else _number(column, list(values.values()), len(known))
            )
        return Demographics(
            partition=partition, part=part, n_patients=len(known), characteristics=tuple(characteristics)
        )

    return (
        of_part("all", "all", sorted(attributes)),
        *(of_part(partition.name, part, partition.parts.get(part, ())) for partition in partitions for part in PARTS),
    )


def partition_facts(partition: Partition) -> PartitionFacts:
    """Sizes, hash and thresholds of one partition, and whether its parts share no patient."""
    parts = {part: partition.parts.get(part, ()) for part in PARTS}
    everyone = [patient_id for patients in parts.values() for patient_id in patients]
    return PartitionFacts(
        name=partition.name,
        n_train=len(parts["train"]),
        n_validation=len(parts["validation"]),
        n_test=len(parts["test"]),
        disjoint=len(set(everyone)) == len(everyone),
        split_hash=partition.split_hash,
        thresholds=dict(partition.thresholds),
    )


def _counted(name: str, codes: Sequence[str], n_all: int) -> Characteristic:
    nan = math.nan
    return Characteristic(
        name=name,
        counts=dict(sorted(Counter(codes).items())),
        median=nan,
        q1=nan,
        q3=nan,
        low=nan,
        high=nan,
        n_missing=n_all - len(codes),
    )


def _number(name: str, values: Sequence[float], n_all: int) -> Characteristic:
    low, q1, median, q3, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) if values else [math.nan] * 5
    return Characteristic(
        name=name,
        counts={},
        median=float(median),
        q1=float(q1),
        q3=float(q3),
        low=float(low),
        high=float(high),
        n_missing=n_all - len(values),
    )
