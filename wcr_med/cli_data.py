"""Commands of `wcr-med data`: a phantom, and an audit."""

import json
from pathlib import Path
from typing import Annotated

import typer

from wcr_med.cli_options import ConfigOption, SetOption
from wcr_med.errors import UserError
from wcr_med.terminal import say

data_app = typer.Typer(no_args_is_help=True, help="Make a phantom, or audit a folder of images.")


@data_app.command("make-phantom")
def make_phantom(
    root: Annotated[Path, typer.Argument(help="Folder to create, in kaggle_3m layout.")],
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same phantom.")] = 0,
) -> None:
    """Write a made-up data set: brain-like volumes with lesions, in the layout of the LGG set."""
    from wcr_med.data.phantom import make_phantom as write_phantom

    if root.exists():
        raise UserError(f"{root}: exists already; choose a new folder or remove it")
    write_phantom(root, n_patients=patients, seed=seed)
    say(f"{patients} patients written to {root}")


@data_app.command("check")
def check(
    root: Annotated[Path | None, typer.Argument(help="Folder in kaggle_3m layout.")] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the findings as JSON here.")] = None,
) -> None:
    """Audit a folder of images before anything is trained on it: a table, JSON, and exit code 1 if it has errors.

    Give a kaggle_3m folder, or --config for any layout: its data section, and the number of channels of its model.
    """
    from wcr_med.config import DataConfig, load_config
    from wcr_med.data.audit import audit
    from wcr_med.files import write_json

    if config is not None:
        loaded = load_config(config, [*(assignments or ()), *([f"data.root={json.dumps(str(root))}"] if root else [])])
        data, in_channels = loaded.data, loaded.model.in_channels
    elif root is not None:
        data, in_channels = DataConfig(root=root), None
    else:
        raise UserError("data check: give a folder, or --config")
    report = audit(data, progress=True, in_channels=in_channels)
    say(report.table())
    if json_path is not None:
        write_json(json_path, report.to_dict())
    if not report.ok:
        raise typer.Exit(1)
