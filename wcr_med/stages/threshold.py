"""The operating threshold: chosen on validation patients, for each network by itself, never on test patients."""

from dataclasses import replace

from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.evaluation import choose_threshold
from wcr_med.stages.inputs import Patients
from wcr_med.stages.networks import open_predictor
from wcr_med.stages.workspace import Workspace


def with_threshold(
    workspace: Workspace, patients: Patients, model: nn.Module, artefact: ModelArtefact
) -> ModelArtefact:
    """The artefact with its threshold and the step that chose it.

    A number in `evaluation.threshold` is taken as it is; "auto" maximises dice_patient over the validation patients.
    """
    config = workspace.config.evaluation
    if config.threshold != "auto":
        return replace(artefact, threshold=config.threshold).with_step("set_threshold", threshold=config.threshold)
    choice = choose_threshold(open_predictor(workspace, model), patients.of(patients.split.validation), progress=True)
    chosen = choice.to_dict()
    del chosen["curve"]  # 97 rows; the choice and its score say enough in a model file
    return replace(artefact, threshold=choice.threshold).with_step("choose_threshold", **chosen)
