"""A study of several partitions: each a run folder of its own under `folds/`, over one prepared cache."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from wcr_med.config import Config, SplitConfig
from wcr_med.data.index import index_patients
from wcr_med.data.sites import sites
from wcr_med.errors import UserError
from wcr_med.stages.inputs import ensure_phantom, open_patients
from wcr_med.stages.plan import begin_plan
from wcr_med.stages.workspace import Workspace, folds_folder, save_config

log = logging.getLogger(__name__)


def fold_workspaces(workspace: Workspace) -> tuple[Workspace, ...]:
    """The run folders that a configuration stands for.

    Args:
        workspace: of the whole study.

    Returns:
        Of a hold-out, or of one fold, the workspace itself. Where the configuration stands for every partition in turn
        (`SplitConfig.in_turn`): `folds/0`, `folds/1` ... of a cross-validation, `folds/CS` ... by institution left out.

    Raises:
        UserError: the institutions cannot be indexed, or are too few, or the folder holds a run of one partition.
    """
    split = workspace.config.split
    if not split.in_turn:
        return (workspace,)
    if workspace.split_path.exists():
        raise UserError(
            f"{workspace.out}: holds a run of one partition, and this configuration is of several in turn; choose"
            " another --out"
        )
    if split.leave_out is None:
        return tuple(_fold(workspace, str(number), fold=number) for number in range(split.folds))
    ensure_phantom(workspace.config.data)
    found = sites(index_patients(workspace.config.data), split)
    return tuple(_fold(workspace, site.name, leave_out=site.name) for site in found)


def run_folds(workspace: Workspace, work: Callable[[Workspace, int], None]) -> tuple[Workspace, ...]:
    """Work on each run folder that a configuration stands for, one after another; log lines name the fold.

    Every split is made, or refused, before the first is worked on. The configuration of the whole study is saved in its
    own folder, so that later commands find the folds again.

    Args:
        workspace: of the whole study.
        work: takes a run folder and its number, from 0.

    Returns:
        The run folders, as `fold_workspaces` does.

    Raises:
        UserError: see `fold_workspaces` and `wcr_med.stages.inputs.open_patients`; or whatever `work` raises.
    """
    parts = fold_workspaces(workspace)
    if not workspace.config.split.in_turn:
        work(workspace, 0)
        return parts
    splits = [open_patients(part).split for part in parts]
    begin_plan(workspace, parts, [split.hash for split in splits])
    if not (workspace.out / "config.yaml").exists():
        save_config(workspace)  # now, so that an interrupted study goes on without --config
    for number, (part, split) in enumerate(zip(parts, splits, strict=True)):
        name = split.method if workspace.config.split.folds else f"{split.method}, {number + 1} of {len(parts)}"
        with part.alone(), log_lines_begin(f"[{name}] "):
            sizes = len(split.train), len(split.validation), len(split.test)
            log.info("%d patients train, %d validate, %d test; in %s", *sizes, part.out)
            work(part, number)
    save_config(workspace)  # and again: the settings may differ in what does not decide the weights
    return parts


@contextlib.contextmanager
def log_lines_begin(prefix: str) -> Iterator[None]:
    """Put `prefix` before every log line of this package, for the length of a block."""
    before = logging.getLogRecordFactory()

    # Not a filter of the handlers: on a terminal the training puts its own in their place.
    def factory(name: str, level: int, path: str, line: int, message: Any, *rest: Any, **more: Any) -> Any:
        begun = f"{prefix}{message}" if name.split(".")[0] == "wcr_med" else message
        return before(name, level, path, line, begun, *rest, **more)

    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


def _fold(workspace: Workspace, name: str, **chosen: object) -> Workspace:
    config = workspace.config
    split = SplitConfig.model_validate(config.split.model_dump() | chosen)
    return Workspace(
        out=folds_folder(workspace.out) / name, config=Config.model_validate(dict(config) | {"split": split})
    )
