"""Disturbances of raw images, at graded strengths: what a scanner, a coil or a protocol may do to them.

Randomness only draws parameters; deterministic functions apply them. A draw belongs to the patient, the kind of
disturbance and the seed: every network sees the same image, and a stronger disturbance is the weaker one, stronger.
Strength 0 changes nothing.

Shape suffixes: S slices, H and W rows and columns of the file's own grid, C channels.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wcr_med.config import RobustnessName
from wcr_med.errors import UserError
from wcr_med.preprocess import foreground

Array = npt.NDArray[Any]

UNITS: Mapping[RobustnessName, str] = {
    "noise": "standard deviation of added Gaussian noise, as a share of each sequence's spread over the foreground",
    "bias_field": "largest relative change of intensity by a smooth field: it runs from 1 - strength to 1 + strength",
    "intensity_shift": "|log2 gamma| of intensities raised to the power of gamma; up or down by chance, by sequence",
    "blur": "standard deviation of a Gaussian blur within each slice, in pixels of the file",
    "missing_channel": "sequences that are replaced by a copy of FLAIR; mean over every choice of them",
}
"""What a strength means, by disturbance, in words."""

STRENGTHS: Mapping[RobustnessName, tuple[float, ...]] = {
    "noise": (0.1, 0.2, 0.4),
    "bias_field": (0.1, 0.2, 0.4),  # BrainWeb's intensity non-uniformity of 20, 40 and 80 %
    "intensity_shift": (0.25, 0.5, 1.0),
    "blur": (0.5, 1.0, 2.0),
    "missing_channel": (1.0, 2.0),  # with three channels
}

BIAS_DEGREE = 3
"""Of the polynomials of a bias field."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A disturbed copy of an image.

    Attributes:
        strength: in the disturbance's own unit.
        image_SHWC: shape and dtype of the original.
    """

    strength: float
    image_SHWC: Array


def variants(
    name: RobustnessName, image_SHWC: Array, *, patient_id: str, seed: int, flair_channel: int | None
) -> Iterator[Variant]:
    """The copies of an image under one disturbance, by rising strength, made one at a time.

    A missing channel can be any but FLAIR, so several copies have one strength: every choice of that many channels.

    Args:
        name: the disturbance.
        image_SHWC: (slices, rows, columns, channels), raw intensities, any real dtype, finite.
        patient_id: the draw is that of the patient.
        seed: of the draw.
        flair_channel: what missing channels are replaced by, from 0; the others do not look at it.

    Raises:
        UserError: a missing channel is asked for and there is no FLAIR, or no other channel.
    """
    if name == "missing_channel":
        yield from _missing(image_SHWC, flair_channel)
        return
    disturb = _drawn(name, image_SHWC, _generator(name, patient_id, seed))
    for strength in STRENGTHS[name]:
        yield Variant(strength=strength, image_SHWC=disturb(strength))


def n_variants(name: RobustnessName, n_channels: int) -> int:
    """How many copies `variants` makes."""
    return 2 ** (n_channels - 1) - 1 if name == "missing_channel" else len(STRENGTHS[name])


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def draw_bias_field(rng: np.random.Generator) -> Array:
    """Coefficients of all products of Legendre polynomials up to the degree, uniform in [-1, 1], the constant 0.

    Returns:
        (degree + 1,) * 3, for slices, rows and columns.
    """
    powers = np.indices((BIAS_DEGREE + 1,) * 3).sum(axis=0)
    drawn: Array = rng.uniform(-1, 1, powers.shape) * ((powers > 0) & (powers <= BIAS_DEGREE))
    return drawn


def draw_directions(rng: np.random.Generator, n_channels: int) -> Array:
    """-1 or 1 for each channel."""
    return rng.choice([-1.0, 1.0], n_channels)


def spread(image_SHWC: Array) -> Array:
    """Standard deviation of each channel over the foreground, both tails clipped at 1 %; 0 without contrast."""
    foreground_SHW = foreground(image_SHWC)
    found = np.zeros(image_SHWC.shape[3])
    if foreground_SHW.any():
        for channel in range(image_SHWC.shape[3]):
            values = image_SHWC[..., channel][foreground_SHW].astype(np.float64)
            found[channel] = np.clip(values, *np.percentile(values, (1, 99))).std()
    return found


def add_noise(image_SHWC: Array, pattern_SHWC: Array, deviation_C: Array) -> Array:
    """The image and a multiple of the pattern.

    Noise reaches the air as well, as a scanner's does. Values stay in the range of the dtype, and where none of the
    image is negative, none becomes so.
    """
    return _like(image_SHWC, _real(image_SHWC) + pattern_SHWC * deviation_C.astype(np.float32))


def multiply_bias_field(image_SHWC: Array, coefficients: Array, strength: float) -> Array:
    """The image times a smooth field, the same in every channel: the coil is.

    The field is a sum of products of Legendre polynomials over the volume (Van Leemput et al., *Automated model-based
    bias field correction of MR images of the brain*, IEEE TMI 1999; MONAI's RandBiasField), scaled to run from
    1 - strength to 1 + strength.

    Args:
        image_SHWC: raw intensities.
        coefficients: see `draw_bias_field`; all zero gives no field.
        strength: in [0, 1).
    """
    field_SHW = bias_shape(image_SHWC.shape[:3], coefficients)
    return _like(image_SHWC, _real(image_SHWC) * (1 + strength * field_SHW[..., None]).astype(np.float32))


def bias_shape(shape: tuple[int, ...], coefficients: Array) -> Array:
    """The polynomial on a grid from -1 to 1 along each axis, scaled to run from -1 to 1; zeros where it is constant."""
    slices, rows, columns = (np.linspace(-1, 1, size) for size in shape)
    field: Array = np.polynomial.legendre.leggrid3d(slices, rows, columns, coefficients)
    low, high = field.min(), field.max()
    if high - low < 1e-9:
        return np.zeros(shape)
    scaled: Array = (2 * field - low - high) / (high - low)
    return scaled


def change_gamma(image_SHWC: Array, gamma_C: Array) -> Array:
    """Each channel's intensities to the power of gamma, between its own smallest and largest, which stay."""
    image = _real(image_SHWC)
    low_C, high_C = image.min(axis=(0, 1, 2)), image.max(axis=(0, 1, 2))
    extent_C = np.where(high_C > low_C, high_C - low_C, 1)
    changed = ((image - low_C) / extent_C) ** gamma_C.astype(image.dtype) * extent_C + low_C
    return _like(image_SHWC, changed)


def blur(image_SHWC: Array, sigma_px: float) -> Array:
    """Each slice of each channel, blurred; the border is continued by its own values."""
    sigmas = (0, sigma_px, sigma_px, 0)
    return _like(image_SHWC, ndimage.gaussian_filter(_real(image_SHWC), sigmas, mode="nearest"))


def replace_channels(image_SHWC: Array, channels: tuple[int, ...], source: int) -> Array:
    """A copy in which these channels hold what the channel `source` holds, as in a data set that fills gaps so."""
    replaced = image_SHWC.copy()
    replaced[..., list(channels)] = image_SHWC[..., [source]]
    return replaced


def _drawn(name: RobustnessName, image_SHWC: Array, rng: np.random.Generator) -> Callable[[float], Array]:
    """The disturbance as a function of its strength, everything random about it drawn."""
    if name == "noise":
        pattern_SHWC, spread_C = _as_copies(image_SHWC, draw_noise(rng, image_SHWC.shape)), spread(image_SHWC)
        return lambda strength: add_noise(image_SHWC, pattern_SHWC, strength * spread_C)
    if name == "bias_field":
        coefficients = draw_bias_field(rng)
        return lambda strength: multiply_bias_field(image_SHWC, coefficients, strength)
    if name == "intensity_shift":
        direction_C = _as_copies(image_SHWC, draw_directions(rng, image_SHWC.shape[3]))
        return lambda strength: change_gamma(image_SHWC, 2.0 ** (strength * direction_C))
    return lambda strength: blur(image_SHWC, strength)


def _missing(image_SHWC: Array, flair_channel: int | None) -> Iterator[Variant]:
    n_channels = image_SHWC.shape[3]
    if flair_channel is None or not 0 <= flair_channel < n_channels or n_channels < 2:
        raise UserError(
            f"report.robustness: missing_channel needs FLAIR and another sequence, the images have {n_channels}"
            " channels; leave it out"
        )
    others = [channel for channel in range(n_channels) if channel != flair_channel]
    for n_missing in range(1, n_channels):
        for channels in itertools.combinations(others, n_missing):
            image = replace_channels(image_SHWC, channels, flair_channel)
            yield Variant(strength=float(n_missing), image_SHWC=image)


def _as_copies(image_SHWC: Array, drawn_C: Array) -> Array:
    """What was drawn for channels (the last axis), where a channel that is a copy of an earlier one gets the same.

    A missing sequence that was filled with a copy would else become a sequence of its own.
    """
    n_channels = image_SHWC.shape[3]
    first = [
        next(other for other in range(n_channels) if np.array_equal(image_SHWC[..., other], image_SHWC[..., channel]))
        for channel in range(n_channels)
    ]
    return drawn_C if first == list(range(n_channels)) else drawn_C[..., first]


def _generator(name: str, patient_id: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{name} {patient_id}".encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def _real(image: Array) -> Array:
    """For arithmetic: float32 where it holds every value, else float64."""
    return image.astype(np.float32 if image.dtype.itemsize <= 2 or image.dtype == np.float32 else np.float64)


def _like(original: Array, changed: Array) -> Array:
    """In the original's dtype and range, rounded where it holds whole numbers."""
    low, high = -np.inf, np.inf
    if original.dtype.kind in "iu":
        limits = np.iinfo(original.dtype)
        low, high = float(limits.min), float(min(limits.max, 2**53))  # floats hold whole numbers up to there
        changed = np.rint(changed)
    if original.min() >= 0:
        low = 0.0
    result: Array = np.clip(changed, low, high).astype(original.dtype)
    return result
