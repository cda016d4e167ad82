"""YAML documents: read, altered by assignments, checked against a kind of configuration, described field by field."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from wcr_med.errors import UserError, shown

_Kind = TypeVar("_Kind", bound=BaseModel)


def read_document(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply `a.b=value` assignments; nothing is checked yet.

    Raises:
        UserError: the file is missing or not YAML, or an assignment cannot be applied.
    """
    document = _read_yaml(path)
    for assignment in assignments:
        _assign(document, assignment)
    return document


def check_document(kind: type[_Kind], document: dict[str, Any], *, source: str) -> _Kind:
    """Check a dictionary against a kind of configuration.

    Raises:
        UserError: a field is unknown, missing or invalid; the message begins with `source` and names the field.
    """
    try:
        # JSON mode is strict about types and still takes lists for tuples and text for paths.
        return kind.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error, kind)}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{source}: values are nested too deeply, or a number is too long; shorten them") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as text; this reads it as a number, and refuses a key that stands twice or is no text.

    Aliases are refused too: a configuration needs none, and a few lines of them can stand for any number of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            problem = f"an alias (*{shown(alias.anchor)[1:-1]}) is not taken; write the value out"
            raise yaml.composer.ComposerError(None, None, problem, alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown(key)} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown(key)} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader with one more number format
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; configs/ holds complete examples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {_yaml_fault(error)}; mend that line") from None
    except RecursionError:
        raise UserError(f"{path}: values are nested too deeply; configs/ holds complete examples") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: holds no fields; configs/ holds complete examples")
    return cast("dict[str, Any]", document)


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong and in which line, without the parser's drawing of it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error)


def _assign(document: dict[str, Any], assignment: str) -> None:
    dotted, equals, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {assignment}: write it as field.subfield=value")
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a safe loader with one more number format
    except (yaml.YAMLError, RecursionError):
        raise UserError(f"--set {assignment}: the value is not valid YAML; quote it") from None
    node = document
    for key in keys[:-1]:
        if not isinstance(node.setdefault(key, {}), dict):
            raise UserError(f"--set {assignment}: {key} is a value, not a section")
        node = node[key]
    node[keys[-1]] = value


def _explain(error: ValidationError, kind: type[BaseModel]) -> str:
    first = error.errors(include_url=False)[0]
    location = [part for part in first["loc"] if isinstance(part, str)]
    dotted = ".".join(location) or "the configuration"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{dotted} is not a field{_nearest(dotted, kind)}{more}"
    if first["type"] == "missing":
        return f"{dotted} is missing; set it in the file or with --set {dotted}=VALUE{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", not {shown(first['input'])}"
    return f"{dotted}: {message[0].lower()}{message[1:]}{given}{more}"


def _nearest(dotted: str, kind: type[BaseModel]) -> str:
    names = field_names(kind)
    last = dotted.rsplit(".", 1)[-1]  # right name, wrong section
    near = [name for name in names if name.rsplit(".", 1)[-1] == last][:1]
    near = near or difflib.get_close_matches(dotted, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else "; `wcr-med config` lists every field"


def field_names(kind: type[BaseModel]) -> list[str]:
    """Every field of a kind of configuration by its dotted name, sections included."""
    return [name for name, _ in describe_fields(kind)]


def describe_fields(kind: type[BaseModel]) -> list[tuple[str, str]]:
    """Every field of a kind of configuration: dotted name and description, in order."""
    return list(_walk(kind, ""))


def _walk(section: type[BaseModel], prefix: str) -> Iterable[tuple[str, str]]:
    for name, field in section.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield f"{prefix}{name}", (field.description or nested.__doc__ or "").split("\n")[0]
            yield from _walk(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description or ""


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested record as one of dotted names; values that are no mappings stay as they are."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
