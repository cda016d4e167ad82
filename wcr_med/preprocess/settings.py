"""What a network was trained with; travels inside every model file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from wcr_med.errors import UserError

_LARGEST_GRID = 8192  # rows or columns; a file that asks for more is damaged or hostile

_SHOWN = 200  # characters of wrong settings in a message


@dataclass(frozen=True, kw_only=True)
class PreprocessSettings:
    """What turns a volume into network input. Travels inside every model file.

    Attributes:
        height: rows of the network's grid, at least 1.
        width: columns of the network's grid, at least 1.
        crop: "head" zooms to the box that holds the head in all slices; "none" takes the whole slice.
        low_percentile: foreground intensities below this percentile count as this percentile in mean and spread.
        high_percentile: the same above.
    """

    height: int = 128
    width: int = 128
    crop: Literal["head", "none"] = "head"
    low_percentile: float = 1.0
    high_percentile: float = 99.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "PreprocessSettings":
        """Read what `to_dict` wrote.

        Raises:
            UserError: a field is missing, unknown or out of range.
        """
        known = {field.name for field in fields(cls)}
        if set(document) != known:
            wrong = repr(sorted(set(document) ^ known))[:_SHOWN]
            raise UserError(f"preprocessing settings: fields missing or unknown: {wrong}; export the model again")
        settings = cls(**document)
        sizes = (document["height"], document["width"])
        in_range = all(
            isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= _LARGEST_GRID for size in sizes
        )
        known_crop = document["crop"] in ("head", "none")
        if not (in_range and known_crop and 0 <= settings.low_percentile < settings.high_percentile <= 100):
            shown = repr(dict(document))[:_SHOWN]
            raise UserError(f"preprocessing settings: a value is out of range: {shown}; export the model again")
        return settings
