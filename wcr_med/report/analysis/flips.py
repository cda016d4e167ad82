"""Patients whose outcome changed with pruning."""

from collections.abc import Sequence

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.comparison_records import Change, Flip
from wcr_med.report.analysis.paired import dice_differences, order_of_loss


def flipped_patients(dense: Sequence[PatientRow], pruned: Sequence[PatientRow], *, worse_by: float) -> tuple[Flip, ...]:
    """The patients with at least one change, the largest loss of Dice first.

    Dice changes count beyond `worse_by`. A tumour is found where one predicted voxel lies on it. A false alarm is any
    voxel in a patient without a tumour, or a predicted component that lies on no reference lesion.

    Args:
        dense: rows of the same patients in the same order as `pruned`.
        pruned: see above.
        worse_by: positive.
    """
    flips = []
    for before, after, difference in zip(dense, pruned, dice_differences(dense, pruned), strict=True):
        pairs = list(zip(before.lesions, after.lesions, strict=True))
        lost = tuple(old.index for old, new in pairs if old.detected and not new.detected)
        gained = tuple(old.index for old, new in pairs if new.detected and not old.detected)
        found = (before.tp > 0, after.tp > 0)
        alarm = (_has_false_alarm(before), _has_false_alarm(after))
        happened: dict[Change, bool] = {
            "Dice fell": bool(difference < -worse_by),
            "Dice rose": bool(difference > worse_by),
            "tumour missed now": found == (True, False),
            "tumour found now": found == (False, True),
            "false alarm appeared": alarm == (False, True),
            "false alarm vanished": alarm == (True, False),
            "lesion lost": bool(lost),
            "lesion gained": bool(gained),
        }
        if changes := tuple(change for change, true in happened.items() if true):
            flips.append(
                Flip(
                    patient_id=before.patient_id,
                    institution=before.institution,
                    changes=changes,
                    dense=before.dice,
                    pruned=after.dice,
                    difference=float(difference),
                    lesions_lost=lost,
                    lesions_gained=gained,
                    n_false_dense=before.n_false_lesions,
                    n_false_pruned=after.n_false_lesions,
                )
            )
    return tuple(sorted(flips, key=lambda flip: (*order_of_loss(flip.difference), flip.patient_id)))


def _has_false_alarm(row: PatientRow) -> bool:
    return row.n_false_lesions > 0 or row.empty == "reference"
