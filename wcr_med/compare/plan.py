"""Which trainings a comparison consists of, and in which order they are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from wcr_med.compare.config import StudyConfig
from wcr_med.compare.methods import Method
from wcr_med.report.comparison.ladders import Place

Phase = Literal["tune", "final"]
Choice = Mapping[tuple[str, Place], float | None]
"""The strength of each method at each place, by name and place."""


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

    @property
    def place(self) -> Place:
        """Its seed and fold."""
        return self.seed, self.fold

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**document)


def places(study: StudyConfig) -> tuple[Place, ...]:
    """Of every final training of a method, in order."""
    if not study.folds:
        return tuple((seed, None) for seed in study.seeds)
    if study.cross:
        return tuple((seed, fold) for seed in study.seeds for fold in study.folds)
    return tuple(zip(study.seeds, study.folds, strict=True))


def tuning_cells(methods: Sequence[Method], study: StudyConfig) -> list[Cell]:
    """The cells that decide strengths, place by place, round by round over the methods.

    Every place has its own: the validation patients of one fold are test patients of others, so a strength that was
    chosen on them must not be tested there. A method with one value to try has none.
    """
    tried = {method.name: method.values(study.tuning_trials) for method in methods}
    return [
        Cell(phase="tune", method=name, value=values[number], seed=seed, fold=fold)
        for seed, fold in places(study)
        for number in range(study.tuning_trials)
        for name, values in tried.items()
        if len(values) > 1 and number < len(values)
    ]


def final_cells(methods: Sequence[Method], study: StudyConfig, chosen: Choice) -> list[Cell]:
    """The cells that are tested, place by place over the methods.

    Args:
        methods: in the order of the table.
        study: seeds and folds.
        chosen: of `choose_values`; a method that has not been tuned at a place yet gets no cell there.
    """
    return [
        Cell(phase="final", method=method.name, value=chosen[method.name, place], seed=place[0], fold=place[1])
        for place in places(study)
        for method in methods
        if (method.name, place) in chosen
    ]


def choose_values(
    methods: Sequence[Method], study: StudyConfig, scores: Mapping[str, float | None]
) -> dict[tuple[str, Place], float | None]:
    """The value of each method at each place where its tuning is over: the best score, of equal ones the lowest value.

    Args:
        methods: of the comparison.
        study: how many trials each has.
        scores: by `Cell.key`, of finished tuning cells; `None` for one that failed.
    """
    cells: dict[tuple[str, Place], list[Cell]] = {}
    for cell in tuning_cells(methods, study):
        cells.setdefault((cell.method, cell.place), []).append(cell)
    chosen: dict[tuple[str, Place], float | None] = {}
    for place in places(study):
        for method in methods:
            own = cells.get((method.name, place), [])
            if not own:
                chosen[method.name, place] = method.values(study.tuning_trials)[0]
            elif all(cell.key in scores for cell in own):
                best = max(own, key=lambda cell: -1.0 if scores[cell.key] is None else float(scores[cell.key] or 0.0))
                chosen[method.name, place] = best.value
    return chosen
