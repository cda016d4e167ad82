"""What pruning cost, and what changed for single patients, in words. The page and summary.md say it alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wcr_med.report.analysis.comparison_records import CostFigure, Jump, WorstDisturbance
from wcr_med.report.clinical.formats import counted, listed, number, percent

_COST_LABELS = {
    "dice_patient": "Dice per patient, mean",
    "false_lesions": "False lesions, number",
    "missed_lesions": "Missed lesions",
    "hd95_px": "HD95, mean",
    "slices_with_alarm": "Tumour-free slices with an alarm",
}
_DIGITS = {"dice_patient": 3, "hd95_px": 1}
_DISTURBANCES = {
    "noise": "noise",
    "bias_field": "uneven brightness",
    "intensity_shift": "a shift of intensity",
    "blur": "blur",
}


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A line of "What did pruning cost?".

    Attributes:
        label: of the figure.
        dense: as text; `pruned` likewise.
        loud: the reader must not miss it.
    """

    label: str
    dense: str
    pruned: str
    loud: bool = False


def cost_rows(cost: Sequence[CostFigure], worst: WorstDisturbance | None) -> tuple[CostRow, ...]:
    """Every figure dense beside pruned, the worst disturbance last; without one that it was not measured."""
    dice = next((figure for figure in cost if figure.name == "dice_patient"), None)
    rows = [
        CostRow(
            label=_cost_label(figure),
            dense=_cost_value(figure, figure.dense, dice=dice.dense if dice else math.nan),
            pruned=_cost_value(figure, figure.pruned, dice=dice.pruned if dice else math.nan),
        )
        for figure in cost
    ]
    if worst is None:
        return (*rows, CostRow(label="Dice under the worst disturbance", dense="not measured", pruned="not measured"))
    where = f"{disturbance_at(worst)} ({counted(worst.n_patients, 'patient')})"
    label = f"Dice under the worst disturbance, {where}"
    return (*rows, CostRow(label=label, dense=number(worst.dense), pruned=number(worst.pruned), loud=is_fragile(worst)))


def is_fragile(entry: WorstDisturbance) -> bool:
    """Whether either network keeps less than half of the Dice that it has on the images as they are."""
    return entry.pruned < 0.5 * entry.pruned_clean or entry.dense < 0.5 * entry.dense_clean


def fragile_sentence(entry: WorstDisturbance) -> str:
    """What a disturbance leaves of the Dice, of both networks."""
    return (
        f"Fragile under {disturbance_at(entry)}: mean Dice is {number(entry.pruned)} after pruning"
        f" ({number(entry.pruned_clean)} on the images as they are) and {number(entry.dense)} dense"
        f" ({number(entry.dense_clean)}), mean over {counted(entry.n_patients, 'patient')}."
    )


def disturbance_at(entry: WorstDisturbance) -> str:
    """A disturbance with its strength: "noise of strength 0.4", "2 missing sequences"."""
    if entry.disturbance == "missing_channel":
        return counted(round(entry.strength), "missing sequence")
    name = _DISTURBANCES.get(entry.disturbance, entry.disturbance.replace("_", " "))
    return f"{name} of strength {entry.strength:g}"


def jump_words(jump: Jump) -> str:
    """What changed, from and to: "false lesions 2 to 4", "tumour found to missed"."""
    text = f"{jump.what} {jump_value(jump, jump.dense)} to {jump_value(jump, jump.pruned)}"
    if jump.what == "tumour found":
        text = f"tumour {jump_value(jump, jump.dense)} to {jump_value(jump, jump.pruned)}"
    unit = f" {jump.unit}" if jump.unit else ""
    return text + unit + (f" ({jump.note})" if jump.note else "")


def jump_value(jump: Jump, value: float) -> str:
    """One of the two values of a jump, without its unit."""
    if jump.what == "tumour found":
        return "found" if value else "missed"
    return number(value, {"Dice": 3, "HD95": 1}.get(jump.what, 0))


def bounds_words(bounds: Mapping[str, float], *, not_compared: Sequence[str] = ()) -> str:
    """The bounds beyond which a patient's outcome has changed, as the end of a sentence."""
    words = {
        "tumour found": "a tumour found or missed",
        "lesions found": "a lesion lost or gained",
        "false lesions": "any change in the number of false lesions",
        "tumour-free slices with an alarm": "any change in the number of tumour-free slices with an alarm",
        "Dice": f"Dice by more than {bounds['Dice']:g}",
        "HD95": f"HD95 by more than {bounds['HD95']:g} px",
        "predicted volume": f"predicted volume by more than {percent(bounds['predicted volume'])} of the reference"
        " volume, or by any voxel where there is no tumour",
    }
    return listed([text for name, text in words.items() if name not in not_compared])


def unchanged_sentence(bounds: Mapping[str, float], *, not_compared: Sequence[str] = ()) -> str:
    """That no patient's outcome changed, and beyond which bounds; what was not compared is said."""
    text = f"No patient\u2019s outcome changed beyond these bounds: {bounds_words(bounds, not_compared=not_compared)}."
    return text + not_compared_sentence(not_compared)


def not_compared_sentence(not_compared: Sequence[str]) -> str:
    """A sentence with a space before it, or nothing."""
    if not not_compared:
        return ""
    return f" Not compared, because it was not measured for every patient, or not alike: {listed(list(not_compared))}."


def _cost_label(figure: CostFigure) -> str:
    label = _COST_LABELS.get(figure.name, figure.name)
    return label if figure.of is None else f"{label}, of {figure.of:,}"


def _cost_value(figure: CostFigure, value: float, *, dice: float) -> str:
    # A network with a Dice has a distance, unless distances were not asked for, or are those of another definition.
    if math.isnan(value) and figure.name == "hd95_px" and math.isfinite(dice):
        return "not measured"
    text = number(value, _DIGITS.get(figure.name, 0))
    return f"{text}\u00a0{figure.unit}" if figure.unit and math.isfinite(value) else text
