"""Names of a network's channels: which sequence is which. Standard library only, so that the edge reads it too."""

import re
from collections.abc import Sequence

KAGGLE_CHANNELS = ("pre-contrast", "FLAIR", "post-contrast")
"""The sequences of the kaggle_3m layout, in its order."""

MOST_CHARACTERS = 40
"""Of a name."""

_FORBIDDEN = re.compile(r"[=;,:\"'\\/*?\[\]]")  # they separate names from other things on a command line and in tables
_PATTERN_ENDS = re.compile(r"(\.nii)?(\.gz)?$", re.IGNORECASE)
_PATTERN_SIGNS = re.compile(r"\[[^\]]*\]|[*?\[\]]")


def checked_names(names: Sequence[object]) -> tuple[str, ...]:
    """The names, after all that makes them unfit to tell channels apart.

    Args:
        names: at least one.

    Raises:
        ValueError: none, an empty or long one, one with characters that commands and tables need, or one twice
            (capitals do not count).
    """
    if not names:
        raise ValueError("no names; give one for each channel, in the network's order")
    seen: set[str] = set()
    for name in names:
        if not _is_name(name):
            raise ValueError(
                f"{name!r} is no name of a channel; give 1 to {MOST_CHARACTERS} letters, digits, blanks or _-+."
            )
        if str(name).casefold() in seen:
            raise ValueError(f"the name {name!r} stands twice; give each channel its own")
        seen.add(str(name).casefold())
    return tuple(map(str, names))


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MOST_CHARACTERS
        and value.isprintable()
        and value == value.strip()
        and not _FORBIDDEN.search(value)
    )


def names_of_patterns(patterns: Sequence[str]) -> dict[str, str]:
    """A name for each file pattern, taken from it: `*_t1.nii.gz` gives t1. One alone, without text, gives "image".

    Words that all patterns share tell nothing, and are left out.

    Args:
        patterns: in the network's order, at least one.

    Returns:
        Name to pattern, in the order given.

    Raises:
        ValueError: a pattern gives no name, or two give the same one.
    """
    words = [_words(pattern) for pattern in patterns]
    common = set.intersection(*map(set, words)) if len(words) > 1 else set()
    named: dict[str, str] = {}
    for pattern, found in zip(patterns, words, strict=True):
        name = "_".join(word for word in found if word not in common)[:MOST_CHARACTERS]
        if not name and len(patterns) == 1:
            name = "image"
        if not name or name.casefold() in map(str.casefold, named):
            raise ValueError(
                f"{pattern!r} does not tell which sequence it is; write a name for each pattern, like"
                ' {t1: "*_t1.nii.gz", flair: "*_flair.nii.gz"}'
            )
        named[name] = pattern
    return named


def _words(pattern: str) -> list[str]:
    return re.findall(r"[^\W_]+", _PATTERN_SIGNS.sub(" ", _PATTERN_ENDS.sub("", pattern)))


def numbered(names: Sequence[str] | None, n_channels: int) -> tuple[str, ...]:
    """The names where there are so many, else "channel 1", "channel 2" and so on."""
    if names is not None and len(names) == n_channels:
        return tuple(names)
    return tuple(f"channel {number}" for number in range(1, n_channels + 1))


def flair_of(names: Sequence[str]) -> int | None:
    """The channel, from 0, whose name says FLAIR; `None` where none or several do."""
    found = [channel for channel, name in enumerate(names) if "flair" in name.casefold()]
    return found[0] if len(found) == 1 else None


def same_order(trained: Sequence[str] | None, given: Sequence[str] | None) -> bool:
    """False where both hold the same names in another order; capitals do not count. True where either is unknown."""
    if trained is None or given is None:
        return True
    old, new = ([name.casefold() for name in names] for names in (trained, given))
    return old == new or sorted(old) != sorted(new)


def listed(names: Sequence[str] | None) -> str:
    """For a reader: "1 pre-contrast, 2 FLAIR"; or that there are no names."""
    if names is None:
        return "not named in this file"
    return ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))


def is_names(value: object, n_channels: int) -> bool:
    """Whether a value read from a file is `n_channels` names that `checked_names` takes."""
    if not isinstance(value, list | tuple) or len(value) != n_channels:
        return False
    try:
        checked_names(value)
    except ValueError:
        return False
    return True
