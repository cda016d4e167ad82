"""Which part of an input each channel of the network takes: what a user says, and what may be told without a word."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from wcr_med.channel_names import numbered
from wcr_med.errors import UserError
from wcr_med.volumes.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Channels:
    """What the network takes, and what the user said of where it is.

    Attributes:
        names: of the channels, in the network's order; "channel 1" and so on where the model file names none.
        named: the model file names them.
        selectors: for each channel the part of the input it takes: number, folder, pattern; `None`: not said.
    """

    names: tuple[str, ...]
    named: bool
    selectors: tuple[str | None, ...]

    @property
    def any_said(self) -> bool:
        """The user chose a channel."""
        return any(selector is not None for selector in self.selectors)

    @property
    def numbers(self) -> tuple[int | None, ...]:
        """The selectors as numbers from 1, `None` where not said or no number."""
        return tuple(
            int(selector) if selector is not None and selector.isdecimal() else None for selector in self.selectors
        )


def choose_channels(names: Sequence[str] | None, n_channels: int, assignments: Sequence[str] = ()) -> Channels:
    """What the user said of the channels, checked.

    Args:
        names: of the model file; `None`: it names none.
        n_channels: that the network takes.
        assignments: each `NAME=SELECTOR`; the name with any capitals, or the number of the channel from 1.

    Raises:
        UserError: no "=", no such channel, or a channel twice.
    """
    shown = numbered(names, n_channels)
    selectors: list[str | None] = [None] * n_channels
    for assignment in assignments:
        name, equals, selector = (part.strip() for part in assignment.partition("="))
        if not equals or not name or not selector:
            raise UserError(f"--channel {assignment}: write it as NAME=SELECTOR, like {shown[0]}=3")
        channel = _channel(name, shown)
        if channel is None:
            known = ", ".join(f"{number} {known}" for number, known in enumerate(shown, start=1))
            raise UserError(f"--channel {assignment}: the network has no channel {name}; it has {known}")
        if selectors[channel] is not None:
            raise UserError(f"--channel {assignment}: channel {shown[channel]} is chosen twice; give it once")
        selectors[channel] = selector
    return Channels(names=shown, named=names is not None, selectors=tuple(selectors))


def in_order(volume: Volume, channels: Channels, place: Path, *, one_file: bool) -> Volume:
    """The volume with its channels in the network's order, by the numbers that the user gave.

    Args:
        volume: as its files hold it.
        channels: what the network takes.
        place: of the files, for messages.
        one_file: one file, or one file a slice, holds all channels, so that a number names one of them.

    Raises:
        UserError: a number beyond the channels, numbers for some channels alone, or no number.
    """
    n = volume.image_SHWC.shape[3]
    if not channels.any_said or not one_file:
        return volume
    numbers = channels.numbers
    if None in numbers:
        missing = ", ".join(name for name, number in zip(channels.names, numbers, strict=True) if number is None)
        raise UserError(f"{place}: holds {n} channels in one file; give --channel NAME=NUMBER for {missing} too")
    wanted = [number - 1 for number in numbers if number is not None]
    if not all(0 <= number < n for number in wanted) or len(set(wanted)) < len(wanted):
        shown = ", ".join(str(number + 1) for number in wanted)
        raise UserError(f"{place}: --channel gives {shown}, but it holds channels 1 to {n}, and each can be one alone")
    rest = sorted(set(range(n)) - set(wanted))
    return replace(
        volume,
        image_SHWC=volume.image_SHWC[..., wanted],
        origins=tuple(f"channel {number + 1}" for number in wanted),
        left_out=tuple(f"channel {number + 1}" for number in rest),
    )


def matches(selector: str, *texts: str) -> bool:
    """Whether one of the texts is the selector, or matches it as a pattern; capitals do not count."""
    pattern = selector.casefold()
    return any(text.casefold() == pattern or fnmatchcase(text.casefold(), pattern) for text in texts if text)


def has_word(text: str, name: str) -> bool:
    """Whether the name stands in the text, not as a part of a longer word; capitals do not count."""
    inner = r"[^a-z0-9]*".join(re.escape(part) for part in re.findall(r"[a-z0-9]+", name.casefold()))
    return bool(inner) and re.search(rf"(?<![a-z0-9]){inner}(?![a-z0-9])", text.casefold()) is not None


def _channel(name: str, names: Sequence[str]) -> int | None:
    folded = [known.casefold() for known in names]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    return int(name) - 1 if name.isdecimal() and 1 <= int(name) <= len(names) else None
