"""What of a run's configuration differs from the defaults: the part that a reader has to see."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from wcr_med.config import Config
from wcr_med.documents import flatten


def changed_fields(configuration: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Fields by dotted name with their values, in the order of the configuration.

    A field that has no default differs, and so does one that today's configuration no longer has.

    Args:
        configuration: resolved, JSON-ready.
    """
    defaults = _defaults(Config)
    return tuple(
        (name, value)
        for name, value in flatten(configuration).items()
        if name not in defaults or defaults[name] != value
    )


def _defaults(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every field with a default, by dotted name, JSON-ready."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if field.is_required():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= _defaults(kind, f"{prefix}{name}.")
            continue
        value = to_jsonable_python(field.get_default(call_default_factory=True))
        found |= flatten({name: value}, prefix)
    return found
