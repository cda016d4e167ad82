"""Scores under disturbed images, at graded strengths; the disturbances are in `disturbances`."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from wcr_med.config import RobustnessName
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.disturbances import UNITS, n_variants, variants
from wcr_med.evaluation.patients import predict, reference_of
from wcr_med.evaluation.predictors import Predictor
from wcr_med.files import read_json, write_json
from wcr_med.metrics.counts import count
from wcr_med.preprocess import binarise
from wcr_med.progress import track

Array = npt.NDArray[Any]
Networks = Mapping[str, tuple[Predictor, float]]
"""By name: the predictor, and the probability from which it calls a pixel foreground."""

SCHEMA_VERSION = 1
UNDISTURBED = "none"

_LOG = logging.getLogger(__name__)


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

    @property
    def key(self) -> tuple[str, str, float]:
        """What tells it from other points of a result."""
        return self.network, self.disturbance, self.strength


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a Dice that does not exist becomes None."""
        return {
            "schema_version": SCHEMA_VERSION,
            "seed": self.seed,
            "units": dict(self.units),
            "points": [
                {
                    "network": point.network,
                    "disturbance": point.disturbance,
                    "strength": point.strength,
                    "dice": {name: None if math.isnan(dice) else dice for name, dice in point.dice.items()},
                }
                for point in self.points
            ],
        }

    @classmethod
    def from_dict(cls, document: Any, *, source: str = "robustness.json") -> Self:
        """Read what `to_dict` wrote.

        Raises:
            UserError: another schema, or a field is missing, unknown or out of range; `source` names the file.
        """
        version = document.get("schema_version") if isinstance(document, Mapping) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{source}: schema version {version!r}, expected {SCHEMA_VERSION}; delete it and measure again"
            )
        try:
            points = tuple(
                RobustnessPoint(**{**point, "dice": {name: _dice(value) for name, value in point["dice"].items()}})
                for point in document["points"]
            )
            return cls(points=points, units=dict(document["units"]), seed=document["seed"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{source}: a field is missing, unknown or out of range ({error}); delete it and measure again"
            ) from None


def measure_robustness(
    predictors: Networks,
    entries: Sequence[PatientEntry],
    *,
    names: Sequence[RobustnessName] = tuple(UNITS),
    seed: int = 0,
    flair_channel: int | None = 1,
    progress: bool = False,
    keep: Path | None = None,
) -> RobustnessResult:
    """Dice of each network on the images as they are and on disturbed copies, each at its own threshold.

    Each image is read once, and each copy is made once: all networks see the same. Where several copies have one
    strength (a missing channel), the Dice is the mean over the copies for which it exists.

    Args:
        predictors: the networks.
        entries: the patients. The caller has made sure that no network saw any of them.
        names: the disturbances.
        seed: of the draws; a patient's draw depends on nothing else.
        flair_channel: see `variants`.
        progress: show progress, and after the first patient how long it will take.
        keep: folder for finished patients, one JSON file each, from which an interrupted measurement goes on. Only the
            caller knows that they are of the same networks, images, disturbances and seed.

    Raises:
        UserError: there are no patients or networks, a threshold is not a probability, a patient's files are bad or
            hold no reference, a network answers with NaN, or a missing channel is asked for and there is no FLAIR.
    """
    if not predictors or not entries:
        raise UserError("no networks or no patients to disturb; raise split.test_patients")
    for network, (_, threshold) in predictors.items():
        if not 0 < threshold < 1:
            raise UserError(f"{network}: threshold is {threshold}: give a probability between 0 and 1")
    results: list[RobustnessResult] = []
    tracked = track(entries, label="robustness", unit="patient", total=len(entries), log=_LOG, enabled=progress)
    told = False
    for entry in tracked:
        kept = None if keep is None else keep / f"{entry.patient_id}.json"
        if kept is not None and kept.exists():
            results.append(RobustnessResult.from_dict(read_json(kept), source=str(kept)))
            continue
        started = time.monotonic()
        results.append(_measure(predictors, entry, names=names, seed=seed, flair_channel=flair_channel))
        if kept is not None:
            write_json(kept, results[-1].to_dict())
        if progress and not told:
            seconds = time.monotonic() - started
            left = len(entries) - len(results)
            _LOG.info("robustness: %.0f s for a patient, about %.0f min for the rest", seconds, seconds * left / 60)
            told = True
    return pool_robustness(results)


def pool_robustness(results: Sequence[RobustnessResult]) -> RobustnessResult:
    """Several results of other patients each, such as those of folds, as one.

    Raises:
        UserError: none is given; a patient is in two of them; or they differ in networks, disturbances, strengths,
            units or seed.
    """
    if not results:
        raise UserError("no results of robustness to put together; measure it for at least one fold")
    first = results[0]
    dice: dict[tuple[str, str, float], dict[str, float]] = {point.key: {} for point in first.points}
    for result in results:
        found = {point.key for point in result.points}
        if found != set(dice) or len(found) != len(result.points):
            example = sorted(found ^ set(dice))
            raise UserError(
                f"robustness was not measured alike for all patients: {example[0] if example else 'a point'} differs;"
                " measure it with one configuration"
            )
        if (result.units, result.seed) != (first.units, first.seed):
            raise UserError("robustness was measured in other units or with another seed; use one configuration")
        for point in result.points:
            twice = sorted(set(dice[point.key]) & set(point.dice))
            if twice:
                raise UserError(f"robustness: patient {twice[0]} was measured twice; pool folds of other patients")
            dice[point.key].update(point.dice)
    points = tuple(
        RobustnessPoint(network=network, disturbance=disturbance, strength=strength, dice=values)
        for (network, disturbance, strength), values in dice.items()
    )
    return RobustnessResult(points=points, units=first.units, seed=first.seed)


def n_copies(names: Sequence[RobustnessName], n_channels: int) -> int:
    """Images that each network sees of a patient: the one as it is, and the disturbed ones."""
    return 1 + sum(n_variants(name, n_channels) for name in names)


def _measure(
    predictors: Networks,
    entry: PatientEntry,
    *,
    names: Sequence[RobustnessName],
    seed: int,
    flair_channel: int | None,
) -> RobustnessResult:
    """One patient."""
    patient_id, volume = entry.patient_id, load_volume(entry)
    image_SHWC, mask_SHW = volume.image_SHWC, reference_of(volume)
    seen: dict[tuple[str, str, float], list[float]] = {}

    def score(disturbance: str, strength: float, disturbed_SHWC: Array) -> None:
        disturbed = replace(volume, image_SHWC=disturbed_SHWC)
        for network, (predictor, threshold) in predictors.items():
            probability_SHW = predict(predictor, disturbed, network=f"{network}, {disturbance} {strength:g}")
            dice = count(mask_SHW, binarise(probability_SHW, threshold)).dice
            seen.setdefault((network, disturbance, strength), []).append(dice)

    score(UNDISTURBED, 0.0, image_SHWC)
    for name in names:
        for variant in variants(name, image_SHWC, patient_id=patient_id, seed=seed, flair_channel=flair_channel):
            score(name, variant.strength, variant.image_SHWC)
    points = tuple(
        RobustnessPoint(network=key[0], disturbance=key[1], strength=key[2], dice={patient_id: _mean(values)})
        for network in predictors
        for key, values in seen.items()
        if key[0] == network
    )
    return RobustnessResult(points=points, units={name: UNITS[name] for name in names}, seed=seed)


def _mean(values: Sequence[float]) -> float:
    exist = [value for value in values if not math.isnan(value)]
    return sum(exist) / len(exist) if exist else math.nan


def _dice(value: float | None) -> float:
    if value is None:
        return math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"Dice {value}")
    return float(value)
