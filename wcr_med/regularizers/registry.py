"""Which regularizers there are: ours, those that a program registers, and those that installed packages bring."""

import difflib
from importlib.metadata import entry_points
from typing import Any, TypeVar

from wcr_med.config import RegularizerConfig
from wcr_med.errors import UserError
from wcr_med.regularizers.base import Regularizer
from wcr_med.regularizers.schedule import Schedule, resolve_schedule

ENTRY_POINTS = "wcr_med.regularizers"
"""Group of entry points under which an installed package names modules or classes that register regularizers."""

_OPTIONS = ("cost_weight", "keep_norm")
_TABLE: dict[str, type[Regularizer]] = {}
_Kind = TypeVar("_Kind", bound=type[Regularizer])


def register_regularizer(kind: _Kind) -> _Kind:
    """Make a class a value of `regularizer.name`; a class decorator.

    Raises:
        ValueError: another class has that name, or a class attribute is missing.
    """
    for attribute in ("name", "label", "default_strength", "strength_range"):
        if not hasattr(kind, attribute):
            raise ValueError(f"{kind.__qualname__}: give it the class attribute {attribute}")
    if kind.name == "none" or _TABLE.get(kind.name, kind) is not kind:
        raise ValueError(f"{kind.__qualname__}: a regularizer called {kind.name!r} exists already")
    _TABLE[kind.name] = kind
    return kind


def regularizer_names() -> tuple[str, ...]:
    """Every registered name in order of registration, those of installed packages last; "none" is not one of them."""
    for point in entry_points(group=ENTRY_POINTS):
        loaded = point.load()
        if isinstance(loaded, type) and issubclass(loaded, Regularizer):
            register_regularizer(loaded)
    return tuple(_TABLE)


def regularizer_class(name: str) -> type[Regularizer]:
    """The class behind a name.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in _TABLE and name not in regularizer_names():
        near = difflib.get_close_matches(name, ["none", *_TABLE], n=1, cutoff=0)[0]
        raise UserError(f"regularizer.name: {name!r} is not a regularizer; did you mean {near}?")
    return _TABLE[name]


def build_regularizer(config: RegularizerConfig) -> Regularizer | None:
    """The regularizer that a configuration names; `None` for "none". Its strength is given at each call.

    Raises:
        UserError: the name is unknown, the strength out of range, the schedule longer than the training, or an option
            is set that the method does not use.
    """
    if config.name == "none":
        return None
    strength_and_schedule(config)
    kind = regularizer_class(config.name)
    for field in _OPTIONS:
        if getattr(config, field) and field not in kind.options:
            raise UserError(
                f"regularizer.{field} is {getattr(config, field):g}, but {config.name} does not use it; set it to 0"
            )
    return kind.from_config(config)


def strength_and_schedule(config: RegularizerConfig) -> tuple[float, Schedule]:
    """What the configuration asks for, the method's own defaults in place of null; (0, always) for "none".

    Raises:
        UserError: as `build_regularizer`.
    """
    if config.name == "none":
        return 0.0, Schedule()
    kind = regularizer_class(config.name)
    strength = kind.default_strength if config.strength is None else config.strength
    if strength > kind.largest_strength:
        raise UserError(
            f"regularizer.strength is {strength:g}: {config.name} takes at most {kind.largest_strength:g}"
            f" (default {kind.default_strength:g})"
        )
    if kind.strength_range == (kind.default_strength,) * 2 and strength != kind.default_strength:
        raise UserError(f"regularizer.strength is {strength:g}, but {config.name} has none; set it to null")
    return strength, resolve_schedule(config.schedule, kind.default_schedule)


def resolved(config: RegularizerConfig) -> dict[str, Any]:
    """The section as it acts, JSON-ready: every null replaced, for records."""
    strength, schedule = strength_and_schedule(config)
    document = config.model_dump(mode="json")
    return document | {"strength": strength, "schedule": vars(schedule).copy()}
