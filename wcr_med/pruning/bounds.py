"""What is wanted of a pruned network, and what one sparsity gives."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Bound = Literal["max_dice_drop", "max_size", "max_latency"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measured sparsity.

    Attributes:
        sparsity: share of prunable weights removed, in [0, 1).
        cost_weight: of the allocation, see `pruning.cost_weight`.
        dice_patient: on validation patients, after repair, at the network's own threshold.
        dice_drop: that of the dense network minus `dice_patient`; negative where pruning helps.
        size_bytes: of the portable ONNX file; `None` where not measured.
        latency_ms: median of single images through the accelerated file; `None` where not measured.
    """

    sparsity: float
    cost_weight: float
    dice_patient: float
    dice_drop: float
    size_bytes: int | None = None
    latency_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is asked for; `None` leaves a quantity unbounded and, except for Dice, unmeasured.

    Attributes:
        max_dice_drop: largest dense dice_patient minus pruned dice_patient, on validation patients.
        max_size_bytes: largest portable ONNX file, bytes, above 0.
        max_latency_ms: longest median time of one image, milliseconds, above 0.
    """

    max_dice_drop: float | None = None
    max_size_bytes: float | None = None
    max_latency_ms: float | None = None

    @property
    def on_file(self) -> bool:
        """Whether the exported file is bounded, in size or latency."""
        return self.max_size_bytes is not None or self.max_latency_ms is not None

    def drop_exceeded(self, trial: Trial) -> tuple[Bound, ...]:
        """The bound on Dice, where the trial does not meet it."""
        exceeded = self.max_dice_drop is not None and not trial.dice_drop <= self.max_dice_drop
        return ("max_dice_drop",) if exceeded else ()

    def file_exceeded(self, trial: Trial) -> tuple[Bound, ...]:
        """The bounds on the file that the trial does not meet."""
        return tuple(name for name, ratio in self._ratios(trial).items() if not ratio <= 1)

    def exceeded(self, trial: Trial) -> tuple[Bound, ...]:
        """All bounds that the trial does not meet."""
        return (*self.drop_exceeded(trial), *self.file_exceeded(trial))

    def file_ratio(self, trial: Trial) -> float:
        """The largest of size and latency, each as a multiple of its bound; 0 without any."""
        return max(self._ratios(trial).values(), default=0.0)

    def _ratios(self, trial: Trial) -> dict[Bound, float]:
        limits: tuple[tuple[Bound, float | None, float | None], ...] = (
            ("max_size", trial.size_bytes, self.max_size_bytes),
            ("max_latency", trial.latency_ms, self.max_latency_ms),
        )
        for name, value, limit in limits:
            if limit is not None and value is None:
                raise ValueError(f"{name} is bounded, but was not measured at sparsity {trial.sparsity}")
        return {name: value / limit for name, value, limit in limits if value is not None and limit is not None}
