"""Train the dense network."""

import contextlib
from dataclasses import asdict
from typing import Any

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.evaluation.plan import StudyPlan
from wcr_med.models import build_model
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer, resolved
from wcr_med.stages.channels import note_channels
from wcr_med.stages.image_statistics import described
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.plan import begin_plan
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, save_config
from wcr_med.training import Group, deciding_fields, train


def train_stage(workspace: Workspace, group: Group | None = None) -> None:
    """Train, keep the best epoch by validation Dice, choose its threshold, and write `models/dense.safetensors`.

    An interrupted training goes on from its last checkpoint; a finished one is kept as it is.

    Args:
        workspace: the run folder and its configuration.
        group: the processes that train together; each calls this, and the main one alone writes. `None` for one alone.

    Raises:
        UserError: the data, the split or an earlier state in the folder does not fit the configuration, or another
            command works in the folder.
        Stopped: a signal asked for it; the state is saved.
    """
    group = group or Group()
    with workspace.alone() if group.is_main else contextlib.nullcontext():
        _train_stage(workspace, group)


def _train_stage(workspace: Workspace, group: Group) -> None:
    build_regularizer(workspace.config.regularizer)  # a name or strength that cannot be is refused first of all
    with group.main_first():
        patients = open_patients(workspace, save=group.is_main)
        if group.is_main:
            note_channels(workspace)
            plan = begin_plan(workspace, [workspace], [patients.split.hash])
        else:  # the main process has written it
            plan = StudyPlan.load(workspace.out)
    if group.is_main and not (workspace.out / "config.yaml").exists():
        save_config(workspace)  # now, so that an interrupted run goes on without --config
    what: dict[str, Any] = {
        "key": {
            "config": deciding_fields(workspace.config),
            "threshold": workspace.config.evaluation.threshold,
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        "inputs": [],
        "outputs": [workspace.model_path(DENSE)],
    }
    if not group.is_main:
        if not group.tell(False):
            _train(workspace, patients, plan, group)
        return
    group.tell(workspace.is_done("train", **what))
    workspace.once("train", **what, work=lambda: _train(workspace, patients, plan, group))
    # And again: the settings may differ in what does not decide the weights. Refused ones never come here.
    save_config(workspace)


def _train(workspace: Workspace, patients: Patients, plan: StudyPlan | None, group: Group) -> None:
    config, split = workspace.config, patients.split
    model = build_model(config.model, seed=config.seed)
    with group.main_first():
        cache = open_cache(workspace, patients)
    result = train(
        model,
        cache,
        split,
        config,
        folder=workspace.train_folder,
        regularizer=build_regularizer(config.regularizer),
        data_hash=patients.data_hash,
        plan_hash=None if plan is None else plan.sha256,
        resume=True,
        group=group,
    )
    if not group.is_main:
        return
    artefact = ModelArtefact(
        model_config=config.model.model_dump(mode="json"),
        preprocess=workspace.settings.to_dict(),
        split_hash=split.hash,
        trained_on=split.train,
        validated_on=split.validation,
        provenance=provenance(seed=config.seed),
        channels=config.channel_names,
    ).with_step(
        "train",
        **asdict(result),
        processes=group.world,
        data_hash=patients.data_hash,
        plan=None if plan is None else plan.to_dict(),
        regularizer=resolved(config.regularizer),
        optimizer=config.optimizer.model_dump(mode="json"),
        loss=config.loss.model_dump(mode="json"),
        training=config.training.model_dump(mode="json"),
        augment=config.augment.model_dump(mode="json"),
        model=config.model.model_dump(mode="json"),
        preprocess=config.preprocess.model_dump(mode="json"),
    )
    artefact = described(workspace, patients, artefact)
    save_model(workspace.model_path(DENSE), model, with_threshold(workspace, patients, model, artefact))
