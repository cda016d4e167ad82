"""What a training has reached, beside its weights."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of history.csv.

    Attributes:
        epoch: counted from 1.
        loss: mean over the epoch's steps, without the regularizer.
        regularizer: the regularizer's value after the epoch, not yet times its strength; `None` without one.
        learning_rate: of the epoch's last step.
        weight_norm: L2 norm of all prunable weights after the epoch.
        dice_patient: of the validation patients, on the network's grid, at probability 0.5; `None` where not validated.
        f1_pooled: likewise.
        images_per_second: slices of the epoch through its wall time, validation not counted.
        seconds: wall time of the epoch, validation included, writing not.
    """

    epoch: int
    loss: float
    regularizer: float | None
    learning_rate: float
    weight_norm: float
    dice_patient: float | None
    f1_pooled: float | None
    images_per_second: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """How far an unfinished epoch is.

    Attributes:
        steps: that are done.
        loss_sum: of their losses.
        n_slices: that they took, of all processes.
        seconds: wall time of them, interruptions not counted.
    """

    steps: int = 0
    loss_sum: float = 0.0
    n_slices: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class Progress:
    """What a training has reached. All of it is JSON.

    Attributes:
        epochs_done: finished epochs.
        part: of the epoch after them that is done.
        best_epoch: the epoch, counted from 1, with the best validation Dice; 0 before the first validation.
        best_dice: its `dice_patient`; `None` before, or where no validation patient had a defined Dice.
        validations_without_better: validations since then.
        seconds: wall time of all finished epochs, interruptions not counted.
        history: one row an epoch.
        terms: one row an epoch: the regularizer's term of each layer; empty rows without a regularizer.
    """

    epochs_done: int = 0
    part: Part = field(default_factory=Part)
    best_epoch: int = 0
    best_dice: float | None = None
    validations_without_better: int = 0
    seconds: float = 0.0
    history: list[EpochRow] = field(default_factory=list)
    terms: list[dict[str, float]] = field(default_factory=list)

    def note(self, row: EpochRow, terms: dict[str, float], *, validated: bool) -> bool:
        """Enter a finished epoch.

        Args:
            row: of the epoch.
            terms: the regularizer's term of each layer after it.
            validated: whether validation patients were scored after it.

        Returns:
            Whether it is the best so far. The first validated epoch always is; later ones must have a larger Dice, so
            of equal epochs the earliest stays.
        """
        self.epochs_done, self.part = row.epoch, Part()
        self.seconds += row.seconds
        self.history.append(row)
        self.terms.append(terms)
        if not validated:
            return False
        if self.best_epoch and (row.dice_patient or 0.0) <= (self.best_dice or 0.0):
            self.validations_without_better += 1
            return False
        self.best_epoch, self.best_dice, self.validations_without_better = row.epoch, row.dice_patient, 0
        return True

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "Progress":
        """Read what `to_dict` wrote.

        Raises:
            TypeError: a field is missing or unknown.
            KeyError: the history is missing.
        """
        history = [EpochRow(**row) for row in document["history"]]
        return cls(**document | {"history": history, "part": Part(**document.get("part", {}))})
