"""The configuration that a folder keeps, and whether it is still as it was written.

A cut YAML file is a valid shorter one, whose missing fields would take their defaults. The record beside it, in
`.done/`, holds the file's digest and every field.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from wcr_med.documents import field_names, flatten, read_document
from wcr_med.errors import UserError, shown
from wcr_med.files import read_json, sha256_of_file, write_json, write_text

log = logging.getLogger(__name__)


class Written(Protocol):
    """A configuration that is kept."""

    def to_yaml(self) -> str:
        """Every field."""
        ...


def write_saved(path: Path, config: Written) -> None:
    """Write a configuration, every field of it, and its record.

    Raises:
        UserError: the folder cannot be written.
    """
    write_text(path, config.to_yaml())
    write_json(_record(path), {"sha256": sha256_of_file(path), "fields": read_document(path)})


def check_saved(path: Path, kind: type[BaseModel]) -> tuple[str, ...]:
    """Compare a kept configuration with its record. A file that was edited and is whole counts, with a line in the log.

    Args:
        path: of the configuration.
        kind: of it.

    Returns:
        A sentence for whoever reads the results, where a value was edited; else nothing.

    Raises:
        UserError: fields that were written are gone, as in a file that was cut.
    """
    record = _record(path)
    if not record.exists():
        log.info("%s: nothing vouches for it, as in folders of older versions; its missing fields take defaults", path)
        return ()
    try:
        known = read_json(record)
        digest, before = str(known["sha256"]), dict(known["fields"])
    except (UserError, KeyError, TypeError, ValueError) as error:
        log.warning("%s: whether %s was changed cannot be told (%s)", record, path.name, error)
        return (f"Whether {path.name} was changed after it was written cannot be told, since its record is damaged.",)
    if sha256_of_file(path) == digest:
        return ()
    now = read_document(path)
    missing = [name for name in field_names(kind) if _has(before, name) and not _has(now, name)]
    if missing:
        more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        raise UserError(
            f"{path}: was cut or edited after it was written: {missing[0]}{more} missing; restore the file, write the"
            " fields out, or give --config"
        )
    was, is_now = flatten(before), flatten(now)
    changed = [name for name in sorted(was.keys() | is_now.keys()) if was.get(name) != is_now.get(name)]
    if not changed:
        return ()  # comments or spaces
    name = changed[0]
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    line = f"{name} was {shown(was.get(name))} and is {shown(is_now.get(name))}{more}"
    log.warning("%s: was edited after it was written: %s; the file counts", path, line)
    return (f"The run's {path.name} was edited after it was written: {line}.",)


def _record(path: Path) -> Path:
    return path.parent / ".done" / "config.json"


def _has(document: Mapping[str, Any], dotted: str) -> bool:
    """Whether a document says something of a field: the field itself stands there, or a whole section is null."""
    node: Any = document
    for name in dotted.split("."):
        if not isinstance(node, Mapping):
            return node is None
        if name not in node:
            return False
        node = node[name]
    return True
