"""The networks of a run folder."""

from pathlib import Path

from torch import nn

from wcr_med.artefacts import ModelArtefact, load_model
from wcr_med.channel_names import listed, same_order
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import Predictor, torch_predictor
from wcr_med.stages.channels import require_same_channels
from wcr_med.stages.workspace import DENSE, Workspace
from wcr_med.training.processor import choose_processor


def require_model(workspace: Workspace, name: str) -> Path:
    """The path of a network of this run.

    Raises:
        UserError: it is not there; the message names those that are.
    """
    path = workspace.model_path(name)
    if not path.exists():
        there = ", ".join(
            sorted(found.stem for found in path.parent.glob("*.safetensors") if ".mask" not in found.name)
        )
        raise UserError(f"{path}: no such network; " + (f"there are {there}" if there else "run `wcr-med train` first"))
    return path


def open_model(workspace: Workspace, name: str) -> tuple[nn.Module, ModelArtefact]:
    """Load a network of this run, in evaluation mode.

    Raises:
        UserError: it is not there or not readable, or it is not the network that the configuration describes.
    """
    path = require_model(workspace, name)
    require_same_channels(workspace)
    model, artefact = load_model(path)
    expected = workspace.config.model.model_dump(mode="json")
    differing = [field for field in expected if artefact.model_config.get(field) != expected[field]]
    if differing:
        field = differing[0]
        raise UserError(
            f"{path}: model.{field} is {artefact.model_config.get(field)} in the file and {expected[field]}"
            " in the configuration; use the configuration it was trained with, or train again in another --out"
        )
    if artefact.settings != workspace.settings:
        raise UserError(
            f"{path}: was trained with other preprocessing than the configuration's section preprocess;"
            " use the configuration it was trained with, or train again in another --out"
        )
    given = workspace.config.channel_names
    if not same_order(artefact.channels, given):
        raise UserError(
            f"{path}: was trained on channels {listed(artefact.channels)}, the configuration gives {listed(given)};"
            " use the configuration it was trained with, or train again in another --out"
        )
    return model, artefact


def open_predictor(workspace: Workspace, model: nn.Module) -> Predictor:
    """The network as a predictor on the device of `training.device`, to which it is moved."""
    return torch_predictor(
        model,
        workspace.settings,
        batch_size=workspace.config.evaluation.batch_size,
        device=choose_processor(workspace.config.training).device,
    )


def open_dense(workspace: Workspace, split: Split) -> tuple[nn.Module, ModelArtefact]:
    """Load the dense network to prune it.

    Pruning looks at more patients: at training patients for the statistics, at validation patients for the threshold.
    The result names those of the dense network alone, so both must come from one split.

    Raises:
        UserError: see `open_model`; or it was trained on another split than `split`.
    """
    model, artefact = open_model(workspace, DENSE)
    if artefact.split_hash != split.hash:
        raise UserError(
            f"{workspace.model_path(DENSE)}: was trained on another split than {workspace.split_path}; prune it in the"
            " run folder it comes from, or train again here"
        )
    return model, artefact
