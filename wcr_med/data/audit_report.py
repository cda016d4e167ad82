"""What an audit of a data set found, as records, as JSON and as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from wcr_med.data.clinical import ClinicalTable
from wcr_med.data.mask_audit import MaskValue
from wcr_med.errors import printable

SCHEMA_VERSION = 2

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
            "same-slice-twice", "copied-sequence", "empty-sequence", "no-tumour", "slice-gap", "mask-everywhere",
            "mask-outside-head", "wrong-channels", "bad-table", "no-clinical-line", "left-out".
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
        mask_values: the values that masks hold, and what becomes of them.
        clinical: what data.csv holds of these patients; `None` where there is none of it.
    """

    patients: tuple[PatientCounts, ...]
    findings: tuple[Finding, ...]
    mask_values: tuple[MaskValue, ...] = ()
    clinical: ClinicalTable | None = None

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
            "mask_values": [asdict(value) for value in self.mask_values],
            "clinical": None if self.clinical is None else self._clinical(self.clinical),
            "patients": [asdict(patient) for patient in self.patients],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def table(self) -> str:
        """The same as text: a row a patient, then the findings, then totals."""
        heads = ("patient", "institution", "slices", "with tumour", "tumour voxels", "size")
        rows = [
            (
                printable(patient.patient_id),
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
            f"{finding.severity:8}{printable(finding.file)}: {finding.message} [{finding.code}]"
            for finding in self.findings[:_SHOWN]
        ]
        if len(self.findings) > _SHOWN:
            lines.append(f"... and {len(self.findings) - _SHOWN} more; the JSON report holds all")
        for value in self.mask_values:
            noun = "patient" if value.n_patients == 1 else "patients"
            lines.append(f"mask value {value.value} in {value.n_patients} {noun}: {value.becomes}")
        if self.clinical is not None:
            lines.append(f"data.csv, {len(self.clinical.codes)} patients: {self.clinical.summary()}")
        document = self.to_dict()
        institutions = ", ".join(f"{name} {count}" for name, count in document["institutions"].items())
        lines.append(
            f"{document['n_patients']} patients ({institutions}), {document['n_slices']} slices, "
            f"{document['n_tumour_slices']} with tumour: "
            f"{document['n_errors']} errors, {document['n_warnings']} warnings, {document['n_notes']} notes"
        )
        return "\n".join(lines)

    def _clinical(self, table: ClinicalTable) -> dict[str, Any]:
        return {
            "n_patients": len(table.codes),
            "separator": table.separator,
            "id_column": table.id_column,
            "columns": list(table.columns),
            "left_out": list(table.left_out),
        }

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
