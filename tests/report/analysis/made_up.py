"""Made-up patients with known answers: a square found too far right, missed, or beside a false one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wcr_med.config import CardConfig, EvaluationConfig, ReportConfig
from wcr_med.data.attributes import PatientAttributes
from wcr_med.evaluation.evaluate import score_patient
from wcr_med.evaluation.plan import PlanStanding
from wcr_med.evaluation.result import EvaluationResult, PatientRow
from wcr_med.evaluation.summarise import summarise
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.clinical.inputs import Network, Partition, ReportInputs

SHAPE = (5, 24, 24)
EVALUATION = EvaluationConfig(resamples=100, lesion_min_voxels=4)
PLANNED = PlanStanding(
    status="planned",
    reason="Margin, level and procedure were set at 2026-05-04T10:20:30Z, when training began (plan abababababab).",
    made="2026-05-04T10:20:30Z",
    sha256="ab" * 32,
    networks=("pruned-90",),
)
QUICK = Settings(resamples=100, permutations=200, lesion_min_voxels=4, plan=PLANNED)
SURE = 0.875  # probability of a predicted voxel: exact in binary


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a network makes of a patient: the square `shift` columns to the right (`None`: nothing), and a false one."""

    shift: int | None = 0
    false: bool = False


def row(
    name: str,
    found: Found,
    *,
    size: int = 8,
    institution: str = "AA",
    threshold: float = 0.5,
    spacing_mm: tuple[float, float, float] | None = None,
) -> PatientRow:
    """A patient with a square of `size` columns (0: no tumour) in slices 1 and 2; Dice is (size - shift) / size."""
    reference_SHW = np.zeros(SHAPE, np.uint8)
    reference_SHW[1:3, 2:6, 2 : 2 + size] = 1
    probability_SHW = np.zeros(SHAPE, np.float32)
    if found.shift is not None:
        probability_SHW[1:3, 2:6, 2 + found.shift : 2 + found.shift + size] = SURE
    if found.false:
        probability_SHW[4, 18:22, 18:22] = 0.625
    return score_patient(
        reference_SHW,
        (probability_SHW >= threshold).astype(np.uint8),
        probability_SHW,
        patient_id=name,
        institution=institution,
        spacing_mm=spacing_mm,
        lesion_min_voxels=4,
        threshold=threshold,
    )[0]


def rows_of(found: Sequence[Found], **changes) -> tuple[PatientRow, ...]:
    """Patients p00, p01 ... in that order."""
    return tuple(row(f"p{number:02}", entry, **changes) for number, entry in enumerate(found))


def shifted(*shifts: int | None) -> tuple[PatientRow, ...]:
    return rows_of([Found(shift=shift) for shift in shifts])


def with_dice(dice: Sequence[float], **changes) -> tuple[PatientRow, ...]:
    """Rows of which Dice alone is set; everything else is that of a perfect answer."""
    perfect = row("", Found(), **changes)
    return tuple(replace(perfect, patient_id=f"p{number:03}", dice=float(value)) for number, value in enumerate(dice))


def result_of(rows: Sequence[PatientRow]) -> EvaluationResult:
    return EvaluationResult(
        threshold=0.5, rows=tuple(rows), averages=summarise(rows, EVALUATION, seed=3), seed=3, lesion_min_voxels=4
    )


def inputs_of(
    dense: Sequence[PatientRow],
    pruned: Sequence[PatientRow],
    *,
    attributes: dict[str, PatientAttributes] | None = None,
    **changes,
) -> ReportInputs:
    """A report's inputs; the data set holds two patients more, one that trained and one for validation."""
    networks = [("dense", 0.0, dense), ("pruned-90", 0.9, pruned)]
    known = {
        entry.patient_id: PatientAttributes(patient_id=entry.patient_id, institution=entry.institution)
        for entry in dense
    }
    known |= {name: PatientAttributes(patient_id=name, institution="ZZ") for name in ("t", "v")}
    partition = Partition(
        name="hold-out",
        parts={"train": ("t",), "validation": ("v",), "test": tuple(entry.patient_id for entry in dense)},
        split_hash="ab" * 32,
        thresholds={"dense": 0.5, "pruned-90": 0.5},
    )
    fields = {
        "title": "made up",
        "command": None,
        "design": "hold-out",
        "source": "made up",
        "phantom": False,
        "networks": tuple(
            Network(
                name=name,
                sparsity_prunable=sparsity,
                sparsity_all=sparsity,
                n_prunable=100,
                n_all=110,
                repair=(),
                retrained_epochs=0,
                result=result_of(rows),
                folders={entry.patient_id: Path(name) for entry in rows},
            )
            for name, sparsity, rows in networks
        ),
        "primary": "pruned-90",
        "entries": {},
        "attributes": known | (attributes or {}),
        "partitions": (partition,),
        "architecture": (),
        "ladder": (),
        "robustness": None,
        "leak": None,
        "card": CardConfig(),
        "settings": ReportConfig(permutations=200, min_subgroup=3),
        "evaluation": EVALUATION,
        "configuration": {},
        "provenance": {},
        "plan": PLANNED,
    }
    return ReportInputs(**(fields | changes))
