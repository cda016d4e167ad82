"""Which NIfTI files of a folder a network takes: by the patterns in the model file, else by what their names say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.sequence_kinds import kind_of
from wcr_med.volumes.choice import Channels, has_word, matches

DEFAULT_CHANNEL_FILES = ("*_t1.nii.gz", "*_flair.nii.gz", "*_t1ce.nii.gz")
"""File patterns of a patient's sequences in the network's order, where the model file names none."""

_LISTED = 6  # files in a message


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a network takes.

    Attributes:
        patterns: a file pattern for each channel, or one of a file that holds them all; capitals do not count.
        declared: the model file names the patterns.
        channels: what the model file and the user say of the channels; `None`: nothing.
    """

    patterns: tuple[str, ...]
    declared: bool
    channels: Channels | None

    @property
    def one_file(self) -> bool:
        """One file holds all channels: there is one pattern, or one channel."""
        return len(self.patterns) == 1

    @property
    def strict(self) -> bool:
        """A file that nothing speaks for is not taken: the network has one channel, of which something is known."""
        known = self.declared or (self.channels is not None and (self.channels.named or self.channels.any_said))
        return known and self.one_file

    def by_channel(self, files: Sequence[Path]) -> list[list[Path]]:
        """The files that fit each pattern, in the network's order."""
        return [self._fitting(place, files) for place in range(len(self.patterns))]

    def one_each(self, folder: Path, files: Sequence[Path]) -> tuple[Path, ...]:
        """A file for each channel; none where no file fits any.

        Raises:
            UserError: a channel has none or several, or one file would be two channels.
        """
        found = self.by_channel(files)
        if not any(found):
            return ()
        for place, fitting in enumerate(found):
            if len(fitting) != 1:
                which = f" ({', '.join(path.name for path in fitting[:_LISTED])})" if fitting else ""
                problem = f"{len(fitting)} files match {self._what(place)}{which}, one is needed"
                raise UserError(f"{folder}: {problem}; rename or remove files, or give --channel NAME=FILE")
        taken = tuple(fitting[0] for fitting in found)
        if len(set(taken)) < len(taken):
            raise UserError(f"{folder}: one file would be two channels; give --channel NAME=FILE for each")
        return taken

    def nothing_fits(self, folder: Path, files: Sequence[Path]) -> UserError:
        """The fault of a folder without a file for the network."""
        there = ", ".join(path.name for path in files[:_LISTED]) + (", ..." if len(files) > _LISTED else "")
        name = self.channels.names[0] if self.channels is not None and len(self.channels.names) == 1 else "NAME"
        return UserError(
            f"{folder}: no file matches {self._what(0)}; it holds {there}; rename the file, or give"
            f" --channel {name}=FILE"
        )

    def doubt(self, path: Path) -> str:
        """What the name of a file that was given by name speaks against; "" where it does not."""
        if not self.strict or self.channels is None or len(self.channels.names) != 1 or self._fitting(0, [path]):
            return ""
        name, kind, said = self.channels.names[0], kind_of(self.channels.names[0]), kind_of(_words(path))
        if kind is None or said is None or said == kind:
            return ""
        return f"the name {path.name} says {said}, the network takes {name}"

    def _fitting(self, place: int, files: Sequence[Path]) -> list[Path]:
        selector = self._selector(place)
        if selector is not None:
            return [path for path in files if matches(selector, path.name, _stem(path), str(path))]
        pattern = self.patterns[place].casefold()
        found = [path for path in files if fnmatchcase(path.name.casefold(), pattern)]
        if found or self.channels is None or not self.channels.named or len(self.channels.names) != len(self.patterns):
            return found
        name = self.channels.names[place]
        kind = kind_of(name)
        if kind is None:
            return [path for path in files if has_word(_stem(path), name)]
        shared = _shared(files)
        return [path for path in files if kind_of(_words(path, shared)) == kind]

    def _selector(self, place: int) -> str | None:
        if self.channels is None or len(self.channels.selectors) != len(self.patterns):
            return None
        selector = self.channels.selectors[place]
        # A number names a channel within a file, not a file.
        return None if selector is None or (selector.isdecimal() and len(self.channels.names) > 1) else selector

    def _what(self, place: int) -> str:
        """The selector or the pattern, and the name of the channel where there is one."""
        text = self._selector(place) or self.patterns[place]
        named = self.channels is not None and self.channels.named and len(self.channels.names) == len(self.patterns)
        return f"{text} ({self.channels.names[place]})" if named and self.channels is not None else text


def wanted_files(channel_files: Sequence[str] | None, channels: Channels | None) -> Wanted:
    """What a network takes.

    Args:
        channel_files: of the model file; `None`: it names none.
        channels: what the network takes; `None`: not known.
    """
    declared = channel_files is not None
    patterns = tuple(channel_files) if channel_files is not None else DEFAULT_CHANNEL_FILES
    if not declared and channels is not None and len(channels.names) != len(patterns):
        patterns = tuple(f"*_{name}.nii.gz" for name in channels.names)
    return Wanted(patterns=patterns, declared=declared, channels=channels)


def _words(path: Path, shared: frozenset[str] = frozenset()) -> str:
    """What the name may say of the sequence: without subject, session and run of BIDS, and what all files share."""
    words = re.split(r"([_. -])", re.sub(r"(^|_)(sub|ses|run)-[^_]*", "", _stem(path)))
    return "".join(word for word in words if word not in shared)


def _shared(files: Sequence[Path]) -> frozenset[str]:
    """Words in the names of all files: a patient's or a study's, which may look like those of a sequence."""
    if len(files) < 2:
        return frozenset()
    return frozenset.intersection(*(frozenset(re.findall(r"[^_. -]+", _stem(path))) for path in files))


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
