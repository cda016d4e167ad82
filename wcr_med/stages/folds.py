"""A study of several partitions: each a run folder of its own under `folds/`, over one prepared cache."""

from wcr_med.config import Config, SplitConfig
from wcr_med.data.index import index_patients
from wcr_med.data.sites import sites
from wcr_med.stages.inputs import ensure_phantom
from wcr_med.stages.workspace import Workspace


def fold_workspaces(workspace: Workspace) -> tuple[Workspace, ...]:
    """The run folders that a configuration stands for.

    Args:
        workspace: of the whole study.

    Returns:
        Of a hold-out, or of one fold, the workspace itself. Where the configuration stands for every partition in turn
        (`SplitConfig.in_turn`): `folds/0`, `folds/1` ... of a cross-validation, `folds/CS` ... by institution left out.

    Raises:
        UserError: the institutions cannot be indexed, or are too few.
    """
    split = workspace.config.split
    if not split.in_turn:
        return (workspace,)
    if split.leave_out is None:
        return tuple(_fold(workspace, str(number), fold=number) for number in range(split.folds))
    ensure_phantom(workspace.config.data)
    found = sites(index_patients(workspace.config.data), split)
    return tuple(_fold(workspace, site.name, leave_out=site.name) for site in found)


def _fold(workspace: Workspace, name: str, **chosen: object) -> Workspace:
    config = workspace.config
    split = SplitConfig.model_validate(config.split.model_dump() | chosen)
    return Workspace(out=workspace.out / "folds" / name, config=Config.model_validate(dict(config) | {"split": split}))
