"""What several commands share: options, and what was typed."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="YAML file of the run; default: the config.yaml saved in --out.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override one field, e.g. training.epochs=5. May be repeated."),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Run folder: everything is read from and written to it.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved configuration and the plan, do nothing.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Name of a network in the run folder: dense, pruned-90, ...")
]


def typed_command() -> str:
    """The command line as it was given, for the provenance of what it writes."""
    return shlex.join(["wcr-med", *sys.argv[1:]])
