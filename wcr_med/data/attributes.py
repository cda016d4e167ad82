"""What is known of a patient beside the images: institution, missing sequences, clinical codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PatientAttributes:
    """One patient.

    Attributes:
        patient_id: unique within the data set.
        institution: "unknown" where the name tells none.
        missing_sequences: names of channels that are copies of another or one constant value, in channel order.
        clinical: codes by column of data.csv, as text; a column without a value is absent. Empty without data.csv.
    """

    patient_id: str
    institution: str
    missing_sequences: tuple[str, ...] = ()
    clinical: Mapping[str, str] = field(default_factory=dict)
