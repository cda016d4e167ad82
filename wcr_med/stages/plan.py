"""The plan of a study: written when training begins, held by every stage that decides a verdict afterwards."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PLAN_NAME, PlanStanding, StudyPlan, differing, require_held, standing_of
from wcr_med.stages.facts import NetworkFacts
from wcr_med.stages.workspace import DENSE, Workspace, pruned_name

log = logging.getLogger(__name__)

TRAIN_STEP = "train"


def begin_plan(workspace: Workspace, parts: Sequence[Workspace], splits: Sequence[str]) -> StudyPlan | None:
    """The plan of a run folder or of a study of several folds; written now where nothing has been trained yet.

    Where a training began without one, in an older version, none is written: its date would say something untrue.

    Args:
        workspace: of the whole study.
        parts: its run folders; of one partition the workspace itself. Each gets a copy.
        splits: the hash of the partition of each part.

    Raises:
        UserError: the plan is damaged, was made for other rules of evaluation, or a part has another.
    """
    begun = any(_begun(part) for part in parts)
    plan = StudyPlan.load(workspace.out)
    if plan is None and begun:
        log.info("%s: training began without a plan, so the report can give no verdict", workspace.out)
        return None
    ours = plan is not None and set(splits) <= set(plan.splits)
    if plan is None or not (begun or len(plan.splits) > len(splits)):
        wanted = StudyPlan.of(workspace.config, splits)
        if plan is None or not ours or differing(plan, wanted.fields):  # else it stays, with its date
            plan = wanted
            plan.save(workspace.out)
            log.info("plan: margin, level and all that decides the verdict are frozen in %s", workspace.out / PLAN_NAME)
    elif not ours:
        raise UserError(f"{workspace.out / PLAN_NAME}: was made for another split; choose another --out")
    require_held(plan, workspace.config, source=str(workspace.out / PLAN_NAME))
    for part in parts:
        if part.out != workspace.out:
            _copy(plan, part, replace=not begun)
    return plan


def hold_plan(workspace: Workspace) -> None:
    """Refuse other rules of evaluation than the plan of the run folder has; nothing where there is none.

    Raises:
        UserError: see `wcr_med.evaluation.plan.require_held`; or the plan is damaged.
    """
    plan = StudyPlan.load(workspace.out)
    if plan is not None:
        require_held(plan, workspace.config, source=str(workspace.out / PLAN_NAME))


def plan_standing(
    workspace: Workspace, dense: Sequence[NetworkFacts], pruned: Sequence[NetworkFacts], *, splits: Sequence[str]
) -> PlanStanding:
    """How the report of a run folder stands to its plan.

    Args:
        workspace: of the whole study; its configuration is that of the report.
        dense: one for each partition; `pruned` likewise, of the network of the verdict.
        pruned: see above.
        splits: hashes of the partitions.

    Raises:
        UserError: the plan is damaged.
    """
    plan = StudyPlan.load(workspace.out)
    standing = standing_of(
        plan,
        workspace.config,
        splits=splits,
        carried=[(facts.step(TRAIN_STEP) or {}).get("plan") for facts in dense],
        histories=[facts.history for facts in pruned],
    )
    if plan is None:
        return standing
    sparsities = [plan.fields.get("pruning.sparsity"), *plan.fields.get("pruning.also", ())]
    names = (pruned_name(sparsity) for sparsity in sparsities if isinstance(sparsity, int | float))
    return replace(standing, networks=tuple(dict.fromkeys(names)))


def _begun(workspace: Workspace) -> bool:
    """Whether a network was trained here, or begins to be."""
    kept = [workspace.model_path(DENSE), workspace.out / "evaluation", *workspace.train_folder.glob("*.safetensors")]
    return any(path.exists() for path in kept)


def _copy(plan: StudyPlan, part: Workspace, *, replace: bool) -> None:
    there = None if replace else StudyPlan.load(part.out)
    if there is None:
        if not replace and _begun(part):
            raise UserError(f"{part.out}: was trained without the plan of its study; choose another --out")
        plan.save(part.out)
    elif there.sha256 != plan.sha256:
        raise UserError(
            f"{part.out / PLAN_NAME}: is not the plan of its study; restore it from a copy, or choose another --out"
        )
