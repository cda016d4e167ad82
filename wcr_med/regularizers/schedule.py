"""When a regularizer acts: not yet, rising, in full, no more."""

from dataclasses import dataclass

from wcr_med.config import ScheduleConfig
from wcr_med.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Shares of all steps: nothing before `start`, a linear rise over `ramp`, nothing in the last `settle`.

    Attributes:
        start: 0 to 1.
        ramp: 0 to 1; 0 is full strength at once.
        settle: 0 to 1.

    Raises:
        ValueError: a share is out of range, or together they exceed 1.
    """

    start: float = 0.0
    ramp: float = 0.0
    settle: float = 0.0

    def __post_init__(self) -> None:
        if min(self.start, self.ramp, self.settle) < 0 or self.start + self.ramp + self.settle > 1:
            raise ValueError(f"start {self.start:g}, ramp {self.ramp:g}, settle {self.settle:g}: not shares of a whole")

    def rise(self, step: int, total: int) -> float:
        """How far the regularizer has risen, 0 (it does nothing) to 1 (full strength), at a step counted from 0.

        With q = step / total: 0 for q < start and for q >= 1 - settle, else min(1, (q - start) / ramp). A pure function
        of the step, so a resumed training needs no state for it.
        """
        q = step / total
        if q < self.start or q >= 1 - self.settle:
            return 0.0
        return min(1.0, (q - self.start) / self.ramp) if self.ramp else 1.0

    def settles(self, step: int, total: int) -> bool:
        """Whether a step counted from 0 lies in the last share, where the regularizer acts no more."""
        return step / total >= 1 - self.settle


def resolve_schedule(config: ScheduleConfig, default: Schedule) -> Schedule:
    """The configured shares, each null one taken from the method's own default.

    Raises:
        UserError: together they exceed 1.
    """
    shares = {
        name: getattr(default, name) if getattr(config, name) is None else getattr(config, name)
        for name in ("start", "ramp", "settle")
    }
    try:
        return Schedule(**shares)
    except ValueError:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise UserError(
            f"regularizer.schedule: {listed}: together they may be at most 1; lower one (null stands for the method's"
            " own default)"
        ) from None
