"""Read a stored evaluation back, and refuse one that is not of this split or not of this configuration."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from wcr_med.config import EvaluationConfig
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.stages.workspace import Workspace


def load_scores(workspace: Workspace, name: str, split: Split) -> EvaluationResult:
    """The stored scores of the network called `name`.

    Raises:
        UserError: there are none, they or their masks were changed or damaged, they are of another schema, or were made
            on another split or with another network than the one that lies there.
    """
    path = scores_path(workspace, name)
    if not path.is_file():
        known = sorted(found.parent.name for found in workspace.out.glob("evaluation/*/metrics.json"))
        there = f"it holds {', '.join(known)}" if known else "it holds none"
        raise UserError(
            f"{path}: no evaluation of {name}; {there}; run `wcr-med evaluate --out {workspace.out} --model {name}`"
            " first, or with --compare choose another with --model"
        )
    workspace.vouch(f"evaluate-{name}")
    result = EvaluationResult.load(path)
    if result.split_hash != split.hash or not {row.patient_id for row in result.rows} <= set(split.test):
        raise UserError(f"{path}: was scored on another split than {workspace.split_path}; run the evaluation again")
    return result


def scores_path(workspace: Workspace, name: str) -> Path:
    """Where they lie."""
    return workspace.evaluation_folder(name) / "metrics.json"


def require_definitions(result: EvaluationResult, config: EvaluationConfig, *, source: Path) -> None:
    """Refuse scores that were made with other definitions than the configuration says: the label would be wrong.

    Margin, `worse_by`, level and resamples are free: they can be computed anew from the rows.

    Raises:
        UserError: naming the first field that differs, and both ways to mend it.
    """
    for field, stored, wanted in _definitions(result, config):
        if stored != wanted:
            raise UserError(
                f"{source}: was scored with evaluation.{field} {stored}, and the configuration says {wanted}; run the"
                f" evaluation again, or give --set evaluation.{field}={stored}"
            )


def _definitions(result: EvaluationResult, config: EvaluationConfig) -> Iterator[tuple[str, str, str]]:
    """Field, what the scores were made with, what the configuration says."""
    yield "lesion_min_voxels", str(result.lesion_min_voxels), str(config.lesion_min_voxels)
    if result.rows and result.rows[0].nsd:
        yield "tolerance_px", _listed(result.rows[0].nsd), _listed(f"{size:g}" for size in config.tolerance_px)
    if config.threshold != "auto":
        yield "threshold", f"{result.threshold:g}", f"{config.threshold:g}"


def _listed(names: Iterable[str]) -> str:
    return f"[{','.join(names)}]"
