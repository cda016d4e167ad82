"""Scores under disturbed images, at graded strengths. Records; the disturbances are in `disturbances`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RobustnessPoint:
    """One network under one disturbance at one strength.

    Attributes:
        network: "dense", "pruned-90".
        disturbance: its name; "none" for the images as they are.
        strength: in the disturbance's own unit, 0 for "none".
        dice: by patient id; NaN where it does not exist.
    """

    network: str
    disturbance: str
    strength: float
    dice: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RobustnessResult:
    """All of them.

    Attributes:
        points: by network, disturbance and rising strength; each network's "none" is among them.
        units: by disturbance, what its strength means, in words.
        seed: of the random ones.
    """

    points: tuple[RobustnessPoint, ...]
    units: Mapping[str, str]
    seed: int
