"""Score a network on the test patients."""

from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult, Predictor, evaluate_patients
from wcr_med.evaluation.result import RESULT_FILES, SCHEMA_VERSION
from wcr_med.evaluation.stored import clear_predictions, mask_path, probability_path
from wcr_med.runtime import Segmenter
from wcr_med.stages.facts import FACTS_NAME, NetworkFacts
from wcr_med.stages.inputs import Patients, declared_spacing, open_patients
from wcr_med.stages.networks import open_model, open_predictor, require_model
from wcr_med.stages.plan import hold_plan
from wcr_med.stages.workspace import DENSE, Workspace, alone


@alone
def evaluate_stage(workspace: Workspace, name: str = DENSE, *, onnx: bool = False) -> str:
    """Score the PyTorch network or the exported file called `name`; store masks and probabilities.

    Writes metrics.json, per_patient.csv, per_lesion.csv, `masks/` and `probabilities/` (`wcr_med.evaluation.stored`),
    and of a PyTorch network network.json (`wcr_med.stages.facts`).

    Returns:
        A line for the user with the headline figures.

    Raises:
        UserError: there is no such network, or it saw a test patient while it was trained.
    """
    hold_plan(workspace)
    patients = open_patients(workspace)
    path = require_onnx(workspace, name) if onnx else require_model(workspace, name)
    folder = workspace.evaluation_folder(f"{name}-onnx" if onnx else name)
    workspace.once(
        f"evaluate-{folder.name}",
        key={
            "schema": SCHEMA_VERSION,
            "network": workspace.config.model_dump(mode="json", include={"model", "preprocess"}),
            "evaluation": workspace.config.evaluation.model_dump(mode="json"),
            "seed": workspace.config.seed,
            "split": patients.split.hash,
            "data": patients.data_hash,
            **declared_spacing(workspace),
        },
        inputs=[path],
        outputs=[
            *(folder / written for written in (*RESULT_FILES, *(() if onnx else (FACTS_NAME,)))),
            *(place(folder, patient) for patient in patients.split.test for place in (mask_path, probability_path)),
        ],
        work=lambda: _evaluate(workspace, patients, path, folder),
    )
    result = EvaluationResult.load(folder / "metrics.json")
    dice = result.averages["dice_patient"]
    return (
        f"{name}: dice_patient {dice.value:.4f}, f1_pooled {result.value('f1_pooled'):.4f}"
        f" on {len(result.rows)} patients, threshold {result.threshold:g}; see {folder}"
    )


def require_onnx(workspace: Workspace, name: str) -> Path:
    """The path of an exported network of this run.

    Raises:
        UserError: it is not there.
    """
    path = workspace.onnx_path(name)
    if not path.exists():
        raise UserError(f"{path}: no such file; run `wcr-med export --model {name}` first")
    return path


def open_onnx(path: Path, split_hash: str) -> Segmenter:
    """Open an exported network for scoring.

    Raises:
        UserError: the file was trained on another split. It names no patients, so only its own split can be tested.
    """
    segmenter = Segmenter.from_file(path)
    if segmenter.metadata.split_hash != split_hash:
        raise UserError(
            f"{path}: was trained on another split; it may have seen these test patients: use its own run folder"
        )
    return segmenter


def _evaluate(workspace: Workspace, patients: Patients, path: Path, folder: Path) -> None:
    test, config = patients.split.test, workspace.config
    if path.suffix == ".onnx":
        segmenter = open_onnx(path, patients.split.hash)
        predictor: Predictor = segmenter.probability
        threshold: float | None = segmenter.metadata.threshold
        facts = None
    else:
        model, artefact = open_model(workspace, path.stem)
        artefact.refuse_leak(test)
        predictor = open_predictor(workspace, model)
        threshold = artefact.threshold
        facts = NetworkFacts.of(model, artefact)
    if threshold is None:
        raise UserError(f"{path}: holds no operating threshold; train or prune it again")
    clear_predictions(folder)
    result = evaluate_patients(
        predictor,
        patients.of(test),
        threshold=threshold,
        config=config.evaluation,
        seed=config.seed,
        split_hash=patients.split.hash,
        progress=True,
        keep=folder,
        network=folder.name,
    )
    if facts is not None:
        facts.save(folder)
    result.save(folder)
