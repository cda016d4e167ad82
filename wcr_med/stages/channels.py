"""Which files are which channel of a run's networks: noted when the training begins, and the same ever after.

The hash of the images does not tell it: the same files in other roles are the same content.
"""

from pathlib import Path
from typing import Any

from wcr_med.channel_names import listed, same_order
from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json
from wcr_med.stages.workspace import Workspace


def note_channels(workspace: Workspace) -> None:
    """Note names and file patterns of the channels, unless the training has begun before.

    Raises:
        UserError: see `require_same_channels`.
    """
    if _path(workspace).exists():
        require_same_channels(workspace)
    else:
        write_json(_path(workspace), _roles(workspace))


def require_same_channels(workspace: Workspace) -> None:
    """Refuse a configuration that gives the channels other files, or the same names in another order.

    Other names alone change nothing. Run folders of earlier versions have no note and are taken as they are.

    Raises:
        UserError: the channels differ from those of the training.
    """
    if not _path(workspace).exists():
        return
    before, now = read_json(_path(workspace)), _roles(workspace)
    if before.get("patterns") != now["patterns"] or not same_order(before.get("names"), now["names"]):
        raise UserError(
            f"{_path(workspace)}: the training began with channels {_shown(before)}, now they are {_shown(now)};"
            " set data.channels and data.nifti.channels back, or choose another --out"
        )


def _path(workspace: Workspace) -> Path:
    return workspace.train_folder / "channels.json"


def _roles(workspace: Workspace) -> dict[str, Any]:
    config = workspace.config
    names = config.channel_names
    return {
        "names": None if names is None else list(names),
        "patterns": list(config.data.nifti.patterns) if config.data.format == "nifti" else None,
    }


def _shown(roles: dict[str, Any]) -> str:
    names, patterns = roles.get("names"), roles.get("patterns")
    files = f" from {', '.join(patterns)}" if patterns else ""
    return f"{listed(names) if names else 'without names'}{files}"
