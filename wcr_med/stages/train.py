"""Train the dense network."""

from dataclasses import asdict

from wcr_med.artefacts import ModelArtefact, save_model
from wcr_med.models import build_model
from wcr_med.provenance import provenance
from wcr_med.regularizers import build_regularizer
from wcr_med.stages.inputs import Patients, open_cache, open_patients
from wcr_med.stages.threshold import with_threshold
from wcr_med.stages.workspace import DENSE, Workspace, save_config
from wcr_med.training import train

# What the dense network depends on, besides the patients.
_DECIDING = {"seed", "preprocess", "augment", "model", "regularizer", "loss", "optimizer", "training"}


def train_stage(workspace: Workspace) -> None:
    """Train, keep the best epoch by validation Dice, choose its threshold, and write `models/dense.safetensors`.

    An interrupted training goes on from its last checkpoint; a finished one is kept as it is.

    Raises:
        UserError: the data, the split or an earlier state in the folder does not fit the configuration.
    """
    patients = open_patients(workspace)
    save_config(workspace)
    workspace.once(
        "train",
        key={
            "config": workspace.config.model_dump(mode="json", include=_DECIDING),
            "threshold": workspace.config.evaluation.threshold,
            "split": patients.split.hash,
        },
        inputs=[],
        outputs=[workspace.model_path(DENSE)],
        work=lambda: _train(workspace, patients),
    )


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
        regularizer=config.regularizer.model_dump(mode="json"),
        optimizer=config.optimizer.model_dump(mode="json"),
        loss=config.loss.model_dump(mode="json"),
        training=config.training.model_dump(mode="json"),
        augment=config.augment.model_dump(mode="json"),
    )
    save_model(workspace.model_path(DENSE), model, with_threshold(workspace, patients, model, artefact))
