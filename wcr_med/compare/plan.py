"""Which trainings a comparison consists of, and in which order they are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from wcr_med.compare.config import StudyConfig
from wcr_med.compare.methods import Method

Phase = Literal["tune", "final"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and its scoring.

    Attributes:
        phase: "tune" is scored on validation patients, "final" on test patients.
        method: its name.
        value: of the method's strength; `None` where it has none.
        seed: of the run.
        fold: of the split; `None` for the split of the run as it is.
    """

    phase: Phase
    method: str
    value: float | None
    seed: int
    fold: int | None

    @property
    def key(self) -> str:
        """Text that is equal for equal cells."""
        return "/".join(str(part) for part in asdict(self).values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**document)


def places(study: StudyConfig) -> tuple[tuple[int, int | None], ...]:
    """(seed, fold) of every final training of a method, in order; tuning uses the first."""
    if not study.folds:
        return tuple((seed, None) for seed in study.seeds)
    if study.cross:
        return tuple((seed, fold) for seed in study.seeds for fold in study.folds)
    return tuple(zip(study.seeds, study.folds, strict=True))


def tuning_cells(methods: Sequence[Method], study: StudyConfig) -> list[Cell]:
    """The cells of the first phase, round by round over the methods; a method with one value to try has none."""
    seed, fold = places(study)[0]
    tried = {method.name: method.values(study.tuning_trials) for method in methods}
    return [
        Cell(phase="tune", method=name, value=values[number], seed=seed, fold=fold)
        for number in range(study.tuning_trials)
        for name, values in tried.items()
        if len(values) > 1 and number < len(values)
    ]


def final_cells(methods: Sequence[Method], study: StudyConfig, chosen: Mapping[str, float | None]) -> list[Cell]:
    """The cells of the second phase, seed by seed over the methods: a study that is stopped holds whole columns.

    Args:
        methods: in the order of the table.
        study: seeds and folds.
        chosen: each method's value; methods that are missing have not been tuned yet and get no cells.
    """
    return [
        Cell(phase="final", method=method.name, value=chosen[method.name], seed=seed, fold=fold)
        for seed, fold in places(study)
        for method in methods
        if method.name in chosen
    ]


def choose_values(
    methods: Sequence[Method], study: StudyConfig, scores: Mapping[str, float | None]
) -> dict[str, float | None]:
    """The value of each method whose tuning is over: the one of the best score, of equal ones the lowest.

    Args:
        methods: of the comparison.
        study: how many trials each has.
        scores: by `Cell.key`, of finished tuning cells; `None` for one that failed.
    """
    cells: dict[str, list[Cell]] = {}
    for cell in tuning_cells(methods, study):
        cells.setdefault(cell.method, []).append(cell)
    chosen: dict[str, float | None] = {}
    for method in methods:
        own = cells.get(method.name, [])
        if not own:
            chosen[method.name] = method.values(study.tuning_trials)[0]
        elif all(cell.key in scores for cell in own):
            best = max(own, key=lambda cell: -1.0 if scores[cell.key] is None else float(scores[cell.key] or 0.0))
            chosen[method.name] = best.value
    return chosen
