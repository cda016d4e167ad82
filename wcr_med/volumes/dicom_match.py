"""Which series of a DICOM study is which channel of the network: by its headers, or by the user. Never by order."""

from collections.abc import Sequence
from itertools import product

from wcr_med.sequence_kinds import kind_of, kind_of_series
from wcr_med.volumes.choice import Channels, has_word, matches
from wcr_med.volumes.dicom_series import Series, SeriesFiles, check_same_grid, sort_series
from wcr_med.volumes.dicom_values import number
from wcr_med.volumes.volume import FileError

_MOST_COMBINATIONS = 256
_LISTED = 12  # series in a message


def match_series(found: Sequence[SeriesFiles], channels: Channels) -> tuple[Series, ...]:
    """A series for each channel, in the network's order, all on one grid.

    A series that the user named is taken. Else one of the kind that the channel's name means: by description, protocol,
    contrast agent and times. Where several are of that kind, those that lie on one grid with the other channels'.

    Args:
        found: of one study.
        channels: what the network takes.

    Raises:
        FileError: a channel has no series or several, or one series would be two channels: the line lists the series.
            Or the chosen ones have faults, or lie on different grids.
    """
    candidates = [_candidates(channel, found, channels) for channel in range(len(channels.names))]
    for name, possible in zip(channels.names, candidates, strict=True):
        if not possible:
            raise _unclear(found, channels, f"no series is known to be {name}")
    combinations = [
        combination
        for combination in _combinations(candidates)
        if len({series.uid for series in combination}) == len(combination)
    ]
    if not combinations:
        raise _unclear(found, channels, f"one series would be both {_doubled(candidates, channels)}")
    if len(combinations) == 1:
        return _on_one_grid(combinations[0])
    fitting = []
    for combination in combinations:
        try:
            fitting.append(_on_one_grid(combination))
        except FileError:  # not one that could be segmented: another one may be meant
            continue
    if len(fitting) == 1:
        return fitting[0]
    for name, possible in zip(channels.names, candidates, strict=True):
        if len(possible) > 1:
            labels = " or ".join(series.label for series in possible)
            raise _unclear(found, channels, f"{name} could be series {labels}")
    raise AssertionError("several combinations of single candidates")


def _candidates(channel: int, found: Sequence[SeriesFiles], channels: Channels) -> list[SeriesFiles]:
    name, selector = channels.names[channel], channels.selectors[channel]
    if selector is not None:
        chosen = [series for series in found if _is_chosen(series, selector)]
        if len(chosen) != 1:
            problem = f"--channel {name}={selector} fits {len(chosen)} series, one is needed"
            raise _unclear(found, channels, problem)
        return chosen
    if not channels.named:
        # A file without names says nothing of its channel: a single series for a single channel leaves no choice.
        return list(found) if len(found) == len(channels.names) == 1 else []
    kind = kind_of(name)
    if kind is None:
        possible = [series for series in found if has_word(series.description, name)]
        return possible or (list(found) if len(found) == len(channels.names) == 1 else [])
    possible = [series for series in found if _kind(series) == kind]
    unknown = len(found) == len(channels.names) == 1 and _kind(found[0]) is None
    return possible or (list(found) if unknown else [])


def _is_chosen(series: SeriesFiles, selector: str) -> bool:
    """By number, UID, folder, or description."""
    if selector.isdecimal():
        by_number = series.number.isdecimal() and int(series.number) == int(selector)
        return by_number or selector == series.folder.name
    texts = (series.uid, series.folder.name, series.slices[0].text("SeriesDescription"))
    return matches(selector, *texts, series.slices[0].text("ProtocolName"))


def _kind(series: SeriesFiles) -> str | None:
    first = series.slices[0]

    def milliseconds(keyword: str) -> float:
        return number(first.path, first.image, keyword, empty=0)

    return kind_of_series(
        first.text("SeriesDescription"),
        first.text("ProtocolName"),
        first.text("ContrastBolusAgent"),
        tr_ms=milliseconds("RepetitionTime"),
        te_ms=milliseconds("EchoTime"),
        ti_ms=milliseconds("InversionTime"),
    )


def _combinations(candidates: Sequence[Sequence[SeriesFiles]]) -> list[tuple[SeriesFiles, ...]]:
    n = 1
    for possible in candidates:
        n *= len(possible)
    return list(product(*candidates)) if n <= _MOST_COMBINATIONS else []


def _on_one_grid(combination: Sequence[SeriesFiles]) -> tuple[Series, ...]:
    chosen = tuple(sort_series(series) for series in combination)
    for series in chosen[1:]:
        check_same_grid(series, chosen[0])
    return chosen


def _doubled(candidates: Sequence[Sequence[SeriesFiles]], channels: Channels) -> str:
    named = [name for name, possible in zip(channels.names, candidates, strict=True) if len(possible) == 1]
    return " and ".join(named[:3]) or "of two channels"


def _unclear(found: Sequence[SeriesFiles], channels: Channels, problem: str) -> FileError:
    """One line with the series there are, and how to choose."""
    listed = "; ".join(series.label for series in found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    how = " ".join(f"--channel '{name}=NUMBER'" for name in channels.names)
    return FileError(
        found[0].folder,
        "ambiguous",
        f"{problem}; the series are {listed}{more}; choose with {how} (a series' number, UID, folder or description)",
    )
