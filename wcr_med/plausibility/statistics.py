"""What the training images of a network look like: a small record that travels in its files and names no patient."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.plausibility.measure import CHANNEL_FEATURES, Look

Array = npt.NDArray[Any]

LEAST_IMAGES = 10
"""Images below which their spread is not known well enough to call another one unlike them."""

COPY = 0.999
"""Correlation of two channels from which one is taken for a copy of the other."""

_MAD = 1.4826  # times the median absolute deviation is the standard deviation of a normal variable
_CLIP = 4.0  # deviations beyond this count as this, so that one odd number does not decide
_SHRINK = 0.2  # of the covariance towards the identity (Ledoit and Wolf 2004, with a fixed share)
_DIGITS = 4
_GLOBAL = ("share of foreground", "foreground at the edges")
_MOST_CHANNELS = 64
_LARGEST = 1e12


@dataclass(frozen=True, kw_only=True)
class ImageStatistics:
    """Of the training images of a network.

    Attributes:
        n_images: that were looked at.
        n_channels: of each.
        below_zero: for each channel the largest share of voxels below zero in an image.
        at_top: for each channel the largest share of voxels at its largest value.
        n_constant: images with a channel of one constant value.
        n_copies: images with two equal channels. They and those with a constant channel do not count in what follows.
        centre: median of each feature; features as `feature_names` lists them.
        deviation: standard deviation of each.
        width: robust standard deviation of each.
        covariance: of the features in units of `width`, each clipped: the upper triangle with its diagonal, by rows.
    """

    n_images: int
    n_channels: int
    below_zero: tuple[float, ...]
    at_top: tuple[float, ...]
    n_constant: int
    n_copies: int
    centre: tuple[float, ...]
    deviation: tuple[float, ...]
    width: tuple[float, ...]
    covariance: tuple[float, ...]

    @property
    def usable(self) -> bool:
        """Enough images to compare another one with."""
        return len(self.centre) > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            UserError: a field is missing, unknown, or not the numbers it should be.
        """
        names = [entry.name for entry in fields(cls)]
        fault = _fault(document, names)
        if fault:
            raise UserError(f"{source}: image statistics are invalid ({fault}); export the network again")
        values: dict[str, Any] = {
            name: value if isinstance(value, int) else tuple(value) for name, value in document.items()
        }
        return cls(**values)

    def outliers(self, look: Look) -> list[tuple[str, float, float, float]]:
        """Features far from those of the training images, the farthest first.

        Returns:
            Name, value, median of the training images, and the distance in standard deviations.
        """
        values = features(look)
        distances = np.abs(values - self.centre) / self.deviation
        n_pairs = len(look.pairs_P)
        distances[len(values) - len(_GLOBAL) - n_pairs : len(values) - len(_GLOBAL)][look.pairs_P >= COPY] = np.nan
        names = feature_names(self.n_channels)
        order = np.argsort(-np.nan_to_num(distances))
        return [
            (names[place], float(values[place]), self.centre[place], float(distances[place]))
            for place in order
            if np.isfinite(distances[place])
        ]

    def distance(self, values: Array) -> float:
        """Squared Mahalanobis distance of the features that do not concern the whole image, deviations clipped."""
        n = len(values) - len(_GLOBAL)
        scaled = np.clip((values - self.centre) / self.width, -_CLIP, _CLIP)[:n]
        return float(scaled @ np.linalg.solve(self._covariance(n), scaled))

    def _covariance(self, n: int) -> Array:
        whole = np.zeros((len(self.centre), len(self.centre)))
        whole[np.triu_indices(len(self.centre))] = self.covariance
        whole = np.triu(whole) + np.triu(whole, 1).T
        return (1 - _SHRINK) * whole[:n, :n] + _SHRINK * np.eye(n)


def fit_statistics(looks: Iterable[Look]) -> ImageStatistics | None:
    """The statistics of images; `None` without any.

    Args:
        looks: of training images, all with the same number of channels.
    """
    seen = list(looks)
    if not seen:
        return None
    n_channels = len(seen[0].constant_C)
    copies = [bool((look.pairs_P >= COPY).any()) for look in seen]
    constant = [bool(look.constant_C.any()) for look in seen]
    whole = [look for look, a, b in zip(seen, copies, constant, strict=True) if not (a or b)]
    values_NF = np.array([features(look) for look in whole]).reshape(len(whole), -1)
    values_NF = values_NF[np.isfinite(values_NF).all(axis=1)]
    centre = deviation = width = covariance = np.zeros(0)
    if len(values_NF) >= LEAST_IMAGES:
        centre = np.median(values_NF, axis=0)
        deviation = np.maximum(values_NF.std(axis=0), 0.02)
        width = np.maximum(_MAD * np.median(np.abs(values_NF - centre), axis=0), 1e-3)
        scaled = np.clip((values_NF - centre) / width, -_CLIP, _CLIP)
        covariance = (scaled.T @ scaled / len(scaled))[np.triu_indices(len(centre))]
    return ImageStatistics(
        n_images=len(seen),
        n_channels=n_channels,
        below_zero=_rounded(np.max([look.below_zero_C for look in seen], axis=0)),
        at_top=_rounded(np.max([look.at_top_C for look in seen], axis=0)),
        n_constant=sum(constant),
        n_copies=sum(copies),
        centre=_rounded(centre),
        deviation=_rounded(deviation),
        width=_rounded(width),
        covariance=_rounded(covariance),
    )


def features(look: Look, order: Iterable[int] | None = None) -> Array:
    """The numbers that are compared, float64; NaN where a channel is constant.

    Args:
        look: at an image.
        order: channels of the image, in the order in which they are taken; `None`: as they are.
    """
    n = len(look.constant_C)
    taken = list(range(n)) if order is None else list(order)
    places = {pair: place for place, pair in enumerate(combinations(range(n), 2))}
    pairs = [look.pairs_P[places[min(taken[a], taken[b]), max(taken[a], taken[b])]] for a, b in places]
    joined = np.arctanh(np.clip(np.array(pairs), -0.99, 0.99))
    return np.concatenate([look.channels_CF[taken].ravel(), joined, [look.foreground, look.edge]])


def feature_names(n_channels: int) -> list[str]:
    """Of `features`, in order; "{0}" stands for the name of the first channel."""
    pairs = [f"likeness of {{{a}}} and {{{b}}}" for a, b in combinations(range(n_channels), 2)]
    return [
        *(f"{name} of {{{channel}}}" for channel in range(n_channels) for name in CHANNEL_FEATURES),
        *pairs,
        *_GLOBAL,
    ]


def _fault(document: Mapping[str, Any], names: list[str]) -> str:
    """What is wrong with a document that should hold statistics; "" where nothing is."""
    if set(document) != set(names):
        return f"fields missing or unknown: {', '.join(map(repr, sorted(set(document) ^ set(names))))}"[:120]
    for name, value in document.items():
        if name.startswith("n_"):
            if type(value) is not int or not 0 <= value < 2**31:
                return f"{name} is no count"
        elif not isinstance(value, list | tuple) or not all(_is_number(entry) for entry in value):
            return f"{name} holds something else than numbers"
    n_channels = document["n_channels"]
    n = len(feature_names(n_channels)) if 1 <= n_channels <= _MOST_CHANNELS else -1
    lengths = {len(document[name]) for name in ("centre", "deviation", "width")}
    if lengths not in ({0}, {n}) or len(document["covariance"]) != (n * (n + 1) // 2 if lengths == {n} else 0):
        return "lists of other lengths than the channels need"
    if any(len(document[name]) != n_channels for name in ("below_zero", "at_top")):
        return "other channels than it says"
    if any(value <= 0 for name in ("deviation", "width") for value in document[name]):
        return "a deviation that is not positive"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
