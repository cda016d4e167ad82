"""What changed for single patients with pruning: counts and distances, not yes or no.

Every figure of a patient has a bound, declared here and printed beside the list. A change beyond it is a jump.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.comparison_records import Change, Flip, Jump, JumpKind
from wcr_med.report.analysis.paired import dice_differences

HD95_BOUND_PX = 2.0
"""A change of HD95 by more than this, in pixels of the slice, is a jump."""

VOLUME_BOUND = 0.1
"""A change of the predicted volume by more than this share of the reference volume is a jump."""

_ROUNDING = 1e-9  # 0.80 less 0.75 is not more than 0.05

_CHANGES: dict[JumpKind, tuple[Change, Change]] = {
    "tumour found": ("tumour missed now", "tumour found now"),
    "lesions found": ("lesion lost", "lesion gained"),
    "Dice": ("Dice fell", "Dice rose"),
    "false lesions": ("more false lesions", "fewer false lesions"),
    "tumour-free slices with an alarm": ("more slices with an alarm", "fewer slices with an alarm"),
    "HD95": ("HD95 rose", "HD95 fell"),
    "predicted volume": ("volume further off", "volume nearer"),
}
"""By what is compared: the change for the worse, and the one for the better."""

_GRAVEST: tuple[JumpKind, ...] = ("tumour found", "lesions found")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What can be compared in two sets of rows.

    Attributes:
        lesions: both count lesions alike.
        distances: both measured distances, on one spacing.
    """

    lesions: bool = True
    distances: bool = True


def flipped_patients(
    dense: Sequence[PatientRow],
    pruned: Sequence[PatientRow],
    *,
    worse_by: float,
    compared: Compared = Compared(),
) -> tuple[Flip, ...]:
    """The patients with at least one jump, the worst first.

    Bounds: Dice by more than `worse_by`; HD95 by more than `HD95_BOUND_PX`; the predicted volume by more than
    `VOLUME_BOUND` of the reference volume, by any voxel in a patient without a tumour; any change of a count (false
    lesions, tumour-free slices with an alarm); any lesion lost or gained; a tumour on which a voxel lies under one
    network alone. A right "nothing there" counts as Dice 1 and HD95 0.

    Jumps for the worse come before those for the better. Of each, a tumour or a lesion lost comes first, then the
    largest multiple of its bound; a change of a count by one is one bound.

    Args:
        dense: rows of the same patients in the same order as `pruned`.
        pruned: see above.
        worse_by: positive.
        compared: what is left out because the two rows define it differently.
    """
    flips = []
    for before, after, difference in zip(dense, pruned, dice_differences(dense, pruned), strict=True):
        jumps = sorted(_jumps(before, after, float(difference), worse_by, compared), key=_order)
        if jumps:
            lost, gained = _lesions(before, after) if compared.lesions else ((), ())
            flips.append(
                Flip(
                    patient_id=before.patient_id,
                    institution=before.institution,
                    changes=tuple(change_of(jump) for jump in jumps),
                    jumps=tuple(jumps),
                    dense=before.dice,
                    pruned=after.dice,
                    difference=float(difference),
                    lesions_lost=lost,
                    lesions_gained=gained,
                    n_false_dense=before.n_false_lesions,
                    n_false_pruned=after.n_false_lesions,
                )
            )
    return tuple(sorted(flips, key=lambda flip: (*_order(flip.jumps[0]), flip.patient_id)))


def compared_in(dense: Sequence[PatientRow], pruned: Sequence[PatientRow]) -> Compared:
    """Distances are compared where every patient has one under both networks, or a right "nothing there"."""
    return Compared(distances=all(math.isfinite(_hd95(row)) for row in (*dense, *pruned)))


def outcome_bounds(worse_by: float) -> dict[str, float]:
    """By what is compared: a change by more than this is a jump. Of HD95 in pixels, of volume a share of the reference.

    Args:
        worse_by: the bound of Dice.
    """
    bounds: dict[str, float] = dict.fromkeys(_CHANGES, 0.0)
    return bounds | {"Dice": worse_by, "HD95": HD95_BOUND_PX, "predicted volume": VOLUME_BOUND}


def not_compared_in(compared: Compared) -> tuple[JumpKind, ...]:
    """The figures that cannot be compared."""
    lesions: tuple[JumpKind, ...] = () if compared.lesions else ("lesions found", "false lesions")
    return (*lesions, "HD95") if not compared.distances else lesions


def change_of(jump: Jump) -> Change:
    """A jump as one of the named changes."""
    if jump.direction == "neither":
        return "volume as far off"
    return _CHANGES[jump.what][0 if jump.direction == "worse" else 1]


def _jumps(
    before: PatientRow, after: PatientRow, difference: float, worse_by: float, compared: Compared
) -> Iterator[Jump]:
    if before.tp + before.fn and (before.tp > 0) != (after.tp > 0):
        yield _jump("tumour found", before.tp > 0, after.tp > 0, times=1, worse=before.tp > 0)
    if compared.lesions:
        lost, gained = _lesions(before, after)
        if lost or gained:
            n_found = (sum(lesion.detected for lesion in row.lesions) for row in (before, after))
            note = "; ".join(
                f"{word} number {', '.join(map(str, indices))}"
                for word, indices in (("lost", lost), ("gained", gained))
                if indices
            )
            yield _jump("lesions found", *n_found, times=len(lost) or len(gained), worse=bool(lost), note=note)
        yield from _counted("false lesions", before.n_false_lesions, after.n_false_lesions)
    yield from _counted("tumour-free slices with an alarm", before.n_slices_false_alarm, after.n_slices_false_alarm)
    if abs(difference) > worse_by + _ROUNDING:
        yield _jump("Dice", before.dice, after.dice, times=abs(difference) / worse_by, worse=difference < 0)
    if compared.distances:
        near, far = _hd95(before), _hd95(after)
        if abs(far - near) > HD95_BOUND_PX + _ROUNDING:
            yield _jump("HD95", near, far, times=abs(far - near) / HD95_BOUND_PX, worse=far > near, unit="px")
    yield from _volume(before, after)


def _counted(what: JumpKind, before: int, after: int) -> Iterator[Jump]:
    if before != after:
        yield _jump(what, before, after, times=abs(after - before), worse=after > before)


def _volume(before: PatientRow, after: PatientRow) -> Iterator[Jump]:
    reference = before.tp + before.fn
    first, second = before.tp + before.fp, after.tp + after.fp
    if abs(second - first) > VOLUME_BOUND * reference + _ROUNDING:
        times = abs(second - first) / (VOLUME_BOUND * reference) if reference else 1.0
        worse, as_far = abs(second - reference) > abs(first - reference), first + second == 2 * reference
        jump = _jump("predicted volume", first, second, times=times, worse=worse, unit="voxels")
        yield replace(jump, direction="neither") if as_far else jump


def _lesions(before: PatientRow, after: PatientRow) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the reference lesions that were lost, and of those that were gained."""
    pairs = list(zip(before.lesions, after.lesions, strict=True))
    lost = tuple(old.index for old, new in pairs if old.detected and not new.detected)
    return lost, tuple(old.index for old, new in pairs if new.detected and not old.detected)


def _hd95(row: PatientRow) -> float:
    return 0.0 if row.empty == "both" else row.hd95_px


def _jump(
    what: JumpKind, dense: float, pruned: float, *, times: float, worse: bool, unit: str = "", note: str = ""
) -> Jump:
    return Jump(
        what=what,
        unit=unit,
        dense=float(dense),
        pruned=float(pruned),
        times_bound=float(times),
        direction="worse" if worse else "better",
        note=note,
    )


def _order(jump: Jump) -> tuple[int, bool, float]:
    return ("worse", "neither", "better").index(jump.direction), jump.what not in _GRAVEST, -jump.times_bound
