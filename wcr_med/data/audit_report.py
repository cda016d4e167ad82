"""What an audit of a data set found, as records, as JSON and as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA_VERSION = 1

Severity = Literal["error", "warning", "note"]

_SHOWN = 60  # findings in the text table; the JSON holds all


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: "error", "warning" or "note".
        patient_id: whose data it is.
        file: path below the data set's root.
        code: the kind, stable for programs: those of `wcr_med.volumes.FileError`, and "same-slice-in-two-patients",
            "same-slice-twice", "copied-sequence", "empty-sequence", "no-tumour", "slice-gap".
        message: what is wrong and how to mend it.
    """

    severity: Severity
    patient_id: str
    file: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class PatientCounts:
    """What could be read of one patient's folder; zeros where nothing could.

    Attributes:
        patient_id: the patient.
        institution: of the patient.
        folder: path below the data set's root.
        n_slices: readable slices.
        n_tumour_slices: slices whose mask holds lesion.
        n_tumour_voxels: voxels of lesion in all slices.
        rows: of a slice; `columns` and `channels` likewise.
    """

    patient_id: str
    institution: str
    folder: str
    n_slices: int
    n_tumour_slices: int
    n_tumour_voxels: int
    rows: int
    columns: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The result of `audit`.

    Attributes:
        patients: one row a patient's folder, in the order of the folders' names.
        findings: errors first, then warnings, then notes; by file within each.
    """

    patients: tuple[PatientCounts, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """No errors; warnings and notes are allowed."""
        return not any(finding.severity == "error" for finding in self.findings)

    def count(self, severity: Severity) -> int:
        """The number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready document with all findings and counts. Paths are below the root."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "n_patients": len(self.patients),
            "n_slices": sum(patient.n_slices for patient in self.patients),
            "n_tumour_slices": sum(patient.n_tumour_slices for patient in self.patients),
            "n_errors": self.count("error"),
            "n_warnings": self.count("warning"),
            "n_notes": self.count("note"),
            "institutions": self._institutions(),
            "patients": [asdict(patient) for patient in self.patients],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def table(self) -> str:
        """The same as text: a row a patient, then the findings, then totals."""
        heads = ("patient", "institution", "slices", "with tumour", "tumour voxels", "size")
        rows = [
            (
                patient.patient_id,
                patient.institution,
                str(patient.n_slices),
                str(patient.n_tumour_slices),
                str(patient.n_tumour_voxels),
                f"{patient.rows}x{patient.columns}x{patient.channels}",
            )
            for patient in self.patients
        ]
        lines = [*_columns((heads, *rows)), ""]
        lines += [
            f"{finding.severity:8}{finding.file}: {finding.message} [{finding.code}]"
            for finding in self.findings[:_SHOWN]
        ]
        if len(self.findings) > _SHOWN:
            lines.append(f"... and {len(self.findings) - _SHOWN} more; the JSON report holds all")
        document = self.to_dict()
        institutions = ", ".join(f"{name} {count}" for name, count in document["institutions"].items())
        lines.append(
            f"{document['n_patients']} patients ({institutions}), {document['n_slices']} slices, "
            f"{document['n_tumour_slices']} with tumour: "
            f"{document['n_errors']} errors, {document['n_warnings']} warnings, {document['n_notes']} notes"
        )
        return "\n".join(lines)

    def _institutions(self) -> dict[str, int]:
        return dict(sorted(Counter(patient.institution for patient in self.patients).items()))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = 2  # the leading columns hold words, the others numbers
    return [
        "  ".join(
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
