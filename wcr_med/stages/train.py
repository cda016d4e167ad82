"""Train the dense network."""

from dataclasses import asdict

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.models import build_model
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer, resolved
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, save_config
from wcr_med.training import deciding_fields, train


def train_stage(workspace: Workspace) -> None:
    """Train, keep the best epoch by validation Dice, choose its threshold, and write `models/dense.safetensors`.

    An interrupted training goes on from its last checkpoint; a finished one is kept as it is.

    Raises:
        UserError: the data, the split or an earlier state in the folder does not fit the configuration.
    """
    build_regularizer(workspace.config.regularizer)  # a name or strength that cannot be is refused first of all
    patients = open_patients(workspace)
    if not (workspace.out / "config.yaml").exists():
        save_config(workspace)  # now, so that an interrupted run goes on without --config
    workspace.once(
        "train",
        key={
            "config": deciding_fields(workspace.config),
            "threshold": workspace.config.evaluation.threshold,
            "split": patients.split.hash,
            "data": patients.data_hash,
        },
        inputs=[],
        outputs=[workspace.model_path(DENSE)],
        work=lambda: _train(workspace, patients),
    )
    # And again: the settings may differ in what does not decide the weights. Refused ones never come here.
    save_config(workspace)


def _train(workspace: Workspace, patients: Patients) -> None:
    config, split = workspace.config, patients.split
    model = build_model(config.model, seed=config.seed)
    result = train(
        model,
        open_cache(workspace, patients),
        split,
        config,
        folder=workspace.train_folder,
        regularizer=build_regularizer(config.regularizer),
        data_hash=patients.data_hash,
        resume=True,
    )
    artefact = ModelArtefact(
        model_config=config.model.model_dump(mode="json"),
        preprocess=workspace.settings.to_dict(),
        split_hash=split.hash,
        trained_on=split.train,
        validated_on=split.validation,
        provenance=provenance(seed=config.seed),
    ).with_step(
        "train",
        **asdict(result),
        data_hash=patients.data_hash,
        regularizer=resolved(config.regularizer),
        optimizer=config.optimizer.model_dump(mode="json"),
        loss=config.loss.model_dump(mode="json"),
        training=config.training.model_dump(mode="json"),
        augment=config.augment.model_dump(mode="json"),
    )
    save_model(workspace.model_path(DENSE), model, with_threshold(workspace, patients, model, artefact))
