"""Whether an image can be what a network was trained on: a line for each thing that speaks against it.

Preprocessing takes air to be about zero and tissue above it, as in MR magnitude images. That is checked for every
image. Where the model file holds statistics of the training images, the image is compared with them too.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from wcr_med.channel_names import numbered
from wcr_med.plausibility.measure import Look
from wcr_med.plausibility.statistics import COPY, ImageStatistics, features

MOST_BELOW_ZERO = 0.01
"""Share of voxels below zero that interpolation may leave in a magnitude image."""

MOST_AT_TOP = 0.03
"""Share of voxels at the largest value beyond which it is padding or saturation."""

MOST_EDGE = 0.5
"""Share of foreground at the edges of the slices beyond which what surrounds the head is not air."""

FAR = 8.0
"""Standard deviations from the training images' median beyond which an image is unlike them."""

BETTER_ORDER = 10.0
"""Drop of the squared distance by which another order of channels must fit better; twice a log likelihood ratio."""

_MOST_CHANNELS = 5  # whose orders are all tried
_WORDS = {"smoothness": "neighbouring pixels are unrelated, as in noise", "level of air": "air is not about zero"}


def nothing_to_see(look: Look) -> bool:
    """No voxel of any channel is above zero, or every channel holds one value: there is nothing to segment."""
    return bool(look.constant_C.all()) or look.foreground == 0


def doubts(look: Look, statistics: ImageStatistics | None, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """A line for each thing that speaks against the image; none where it looks as it should.

    Args:
        look: at the image.
        statistics: of the training images; `None`: not known, then only what preprocessing needs is checked.
        names: of the channels.
    """
    shown = numbered(names, len(look.constant_C))
    found = _not_magnitude(look, statistics, shown)
    if statistics is None or not statistics.usable or statistics.n_channels != len(shown):
        return tuple(found)
    order = _better_order(look, statistics)
    if order is not None:
        listed = ", ".join(f"{name} in place {place + 1}" for name, place in zip(shown, order, strict=True))
        found.append(
            f"channels look swapped: the training images fit better with {listed}; check which sequence is which"
        )
    if (look.pairs_P >= COPY).any() and statistics.n_copies == 0:
        found.append("two channels are copies of one another: a sequence is missing")
    far = [entry for entry in statistics.outliers(look) if entry[3] > FAR]
    if far and order is None:
        name, value, usual, _ = far[0]
        what = name.format(*shown)
        why = next((f" ({words})" for key, words in _WORDS.items() if name.startswith(key)), "")
        more = f", and {len(far) - 1} more" if len(far) > 1 else ""
        found.append(f"unlike the training images: {what} is {value:.2g}{why}, theirs about {usual:.2g}{more}")
    return tuple(found)


def voxel_doubts(
    names: Sequence[str],
    below_zero: Sequence[float],
    at_top: Sequence[float],
    *,
    usual_below: Sequence[float] | None = None,
    usual_top: Sequence[float] | None = None,
) -> list[str]:
    """What shares of voxels alone speak against.

    Args:
        names: of the channels.
        below_zero: share of voxels below zero, by channel.
        at_top: share of voxels at the largest value, by channel; 0 for a constant one.
        usual_below: the largest share below zero of a training image, by channel; `None`: not known.
        usual_top: likewise at the largest value.
    """
    found = []
    allowed = [max(MOST_BELOW_ZERO, 2 * share) for share in usual_below or [0.0] * len(names)]
    below = _beyond(names, below_zero, allowed)
    if below:
        found.append(
            f"voxels below zero: {below}; expected at most {max(allowed):.0%}, since air must be about zero: give"
            " magnitude images, without z-scores or offsets"
        )
    allowed = [max(MOST_AT_TOP, 2 * share) for share in usual_top or [0.0] * len(names)]
    top = _beyond(names, at_top, allowed)
    if top:
        found.append(
            f"voxels at the largest value: {top}; expected at most {max(allowed):.0%}: padding, saturation or a mask"
        )
    return found


def _beyond(names: Sequence[str], shares: Sequence[float], allowed: Sequence[float]) -> str:
    beyond = [(name, share) for name, share, most in zip(names, shares, allowed, strict=True) if share > most]
    return ", ".join(f"{share:.0%} of {name}" for name, share in beyond)


def _not_magnitude(look: Look, statistics: ImageStatistics | None, names: Sequence[str]) -> list[str]:
    known = statistics if statistics is not None and statistics.n_channels == len(names) else None
    found = voxel_doubts(
        names,
        look.below_zero_C.tolist(),
        look.at_top_C.tolist(),
        usual_below=None if known is None else known.below_zero,
        usual_top=None if known is None else known.at_top,
    )
    if not found and look.edge > MOST_EDGE:
        found.append(
            f"what surrounds the head is not air: {look.edge:.0%} of the pixels at the edges are bright, expected at"
            f" most {MOST_EDGE:.0%}: padding other than zero, or an offset"
        )
    if look.constant_C.any() and not look.constant_C.all() and (statistics is None or statistics.n_constant == 0):
        listed = ", ".join(name for name, constant in zip(names, look.constant_C, strict=True) if constant)
        found.append(f"holds one constant value: {listed}; the sequence is missing")
    return found


def _better_order(look: Look, statistics: ImageStatistics) -> tuple[int, ...] | None:
    """For each channel the place in the image that fits it, where another order than the image's fits far better."""
    n = len(look.constant_C)
    if not 2 <= n <= _MOST_CHANNELS or look.constant_C.any() or not np.isfinite(look.pairs_P).all():
        return None
    if (look.pairs_P >= COPY).any() or not np.isfinite(features(look)).all():
        return None  # copies have no order
    orders = list(permutations(range(n)))
    distances = [statistics.distance(features(look, order)) for order in orders]
    best = int(np.argmin(distances))
    return orders[best] if distances[0] - distances[best] > BETTER_ORDER else None
