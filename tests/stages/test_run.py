"""The whole line, from images to summary."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from wcr_med.artefacts import load_model
from wcr_med.config import load_config
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.models import sparsity
from wcr_med.plausibility import ImageStatistics
from wcr_med.runtime import Segmenter
from wcr_med.runtime.info import describe
from wcr_med.stages.deployment import deployment_stage
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage
from wcr_med.stages.ladder import ladder_stage
from wcr_med.stages.networks import open_model
from wcr_med.stages.prune import prune_stage
from wcr_med.stages.report import report_stage
from wcr_med.stages.run import plan, run_stages
from wcr_med.stages.train import train_stage
from wcr_med.stages.workspace import DENSE, Workspace, open_workspace, pruned_name


def changed(workspace: Workspace, out: Path, *assignments: str) -> Workspace:
    """The same run in another folder with some fields set."""
    return open_workspace(out, config_path=workspace.out / "config.yaml", assignments=assignments)


def copied(workspace: Workspace, target: Path, *assignments: str) -> Workspace:
    """A copy of a finished run that a test may change."""
    shutil.copytree(workspace.out, target)
    return changed(workspace, target, *assignments)


def test_every_artefact_carries_the_split(finished: Workspace) -> None:
    split = Split.load(finished.split_path)
    for name in ("dense", "pruned-90"):
        _, artefact = load_model(finished.model_path(name))
        assert artefact.split_hash == split.hash
        assert set(artefact.trained_on) == set(split.train)
        assert set(artefact.validated_on) == set(split.validation)
        assert artefact.provenance["versions"]["torch"]
        assert Segmenter.from_file(finished.onnx_path(name)).metadata.split_hash == split.hash
    summary = json.loads((finished.out / "summary.json").read_text())
    assert summary["data"]["split_hash"] == split.hash
    for folder in ("evaluation/dense", "evaluation/pruned-90-onnx", "ladder/90"):
        assert EvaluationResult.load(finished.out / folder / "metrics.json").split_hash == split.hash


def test_the_resolved_configuration_is_saved(finished: Workspace) -> None:
    assert load_config(finished.out / "config.yaml") == finished.config


def test_pruning_is_exact_and_named(finished: Workspace) -> None:
    model, artefact = load_model(finished.model_path("pruned-90"))
    report = sparsity(model)
    assert report.n_prunable_zero == round(0.9 * report.n_prunable)
    assert [step["step"] for step in artefact.history] == [
        "train", "choose_threshold", "prune", "reestimate_statistics", "choose_threshold",
    ]  # fmt: skip
    mask = json.loads((finished.out / "models" / "pruned-90.mask.json").read_text())
    assert mask["n"] - mask["n_kept"] == report.n_prunable_zero


def test_the_onnx_file_scores_like_the_network(finished: Workspace) -> None:
    results = [
        EvaluationResult.load(finished.evaluation_folder(name) / "metrics.json")
        for name in ("pruned-90", "pruned-90-onnx")
    ]
    assert results[0].threshold == results[1].threshold
    np.testing.assert_allclose([row.dice for row in results[0].rows], [row.dice for row in results[1].rows], atol=1e-4)


def test_no_patient_is_named_in_the_onnx_file(finished: Workspace) -> None:
    text = str(onnx.load(finished.onnx_path("pruned-90")).metadata_props)
    split = Split.load(finished.split_path)
    assert not any(patient in text for patient in (*split.train, *split.validation, *split.test))


def test_the_summary_shows_every_rung_and_its_pictures(finished: Workspace) -> None:
    text = (finished.out / "summary.md").read_text()
    assert "Not a medical device" in text
    summary = json.loads((finished.out / "summary.json").read_text())
    assert [(row["sparsity"], row["repair"]) for row in summary["ladder"]] == [
        (0.0, []),
        (0.0, ["reestimate_statistics"]),
        (0.9, []),
        (0.9, ["reestimate_statistics"]),
    ]
    for figure in ("sparsity", "patients"):
        assert (finished.out / "figures" / f"{figure}.png").stat().st_size > 1000
        assert f"figures/{figure}.png" in text


def test_the_ladder_agrees_with_the_stations(finished: Workspace) -> None:
    rung = EvaluationResult.load(finished.out / "ladder" / "90-repaired" / "metrics.json")
    alone = EvaluationResult.load(finished.evaluation_folder("pruned-90") / "metrics.json")
    assert rung.threshold == alone.threshold
    assert [row.dice for row in rung.rows] == pytest.approx([row.dice for row in alone.rows], nan_ok=True)


def test_a_second_run_keeps_everything(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (workspace.out / "models").iterdir()}
    run_stages(workspace)
    assert {path: path.stat().st_mtime_ns for path in (workspace.out / "models").iterdir()} == before


def test_another_sparsity_leaves_the_dense_network_alone(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "pruning.sparsity=0.5", "pruning.repair=[]")
    assert "50.0" in prune_stage(workspace)
    _, artefact = load_model(workspace.model_path("pruned-50"))
    assert "reestimate_statistics" not in [step["step"] for step in artefact.history]


def test_every_score_and_repair_in_one_run(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(
        finished,
        tmp_path / "run",
        "pruning.score=fisher",
        "pruning.cost_weight=0.5",
        "pruning.repair=[match_variance, reestimate_statistics, tune_biases]",
        "pruning.ladder=[0.9]",
    )
    prune_stage(workspace)
    ladder_stage(workspace)
    _, artefact = load_model(workspace.model_path("pruned-90"))
    steps = {step["step"]: step for step in artefact.history}
    assert list(steps) == [
        "train", "choose_threshold", "prune", "match_variance", "reestimate_statistics", "tune_biases",
    ]  # fmt: skip
    assert (steps["prune"]["score"], steps["prune"]["cost_weight"]) == ("fisher", 0.5)
    assert all(row["n"] > row["n_zero"] for row in steps["prune"]["layers"])  # the floor
    rung = EvaluationResult.load(workspace.out / "ladder" / "90-repaired" / "metrics.json")
    assert rung.threshold == artefact.threshold


def test_fine_tuning_is_called_what_it_is(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "pruning.finetune_epochs=1", "report.robustness=[]")
    assert "retrained: not one-shot, global_magnitude to 0.9, statistics re-estimated, 1 epoch" in plan(workspace)
    assert prune_stage(workspace).endswith("; retrained: not one-shot")
    model, artefact = load_model(workspace.model_path("pruned-90"))
    assert [step["step"] for step in artefact.history][-2:] == ["finetune", "choose_threshold"]
    assert artefact.history[-2]["label"] == "retrained: not one-shot"
    report = sparsity(model)
    assert report.n_prunable_zero == round(0.9 * report.n_prunable)
    with pytest.raises(UserError, match="is another network than the one that evaluate-pruned-90 was made with"):
        report_stage(workspace)  # the scores of the old one
    evaluate_stage(workspace, "pruned-90")
    with pytest.raises(UserError, match="is another network than the one that export-pruned-90 was made with"):
        report_stage(workspace)
    export_stage(workspace, "pruned-90")
    with pytest.raises(UserError, match="is another network than the one that deployment was made with"):
        report_stage(workspace)
    deployment_stage(workspace)
    report_stage(workspace)
    text = (workspace.out / "summary.md").read_text()
    assert "removed and 1 epoch of training with the mask held (retrained: not one-shot)" in text
    assert "| pruned-90, statistics re-estimated, retrained: not one-shot |" in text
    assert "in one shot" not in text
    assert "only pruned-90, above, was retrained" in text


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("pruning.cost_weight=0.5", r"pruning\.cost_weight is 0\.5, but pruning\.score layer_magnitude"),
        ("pruning.repair=[tune_biases, match_variance]", "match_variance must come first"),
        ("pruning.layer_floor=0.2", r"pruning\.sparsity is 0\.9, but pruning\.layer_floor 0\.2 leaves at most 0\.8"),
    ],
)
def test_pruning_that_cannot_be_is_refused_before_training(
    finished: Workspace, tmp_path: Path, assignment: str, message: str
) -> None:
    workspace = changed(finished, tmp_path / "new", "pruning.score=layer_magnitude", assignment)
    with pytest.raises(UserError, match=message):
        run_stages(workspace)
    assert not workspace.out.exists()


def test_the_same_seed_gives_the_same_network(finished: Workspace, tmp_path: Path) -> None:
    again = changed(finished, tmp_path / "again")
    from wcr_med.stages.train import train_stage

    train_stage(again)
    first, second = (load_model(workspace.model_path("dense"))[0].state_dict() for workspace in (finished, again))
    assert all((first[name] == second[name]).all() for name in first)


def test_a_network_is_never_tested_on_patients_it_saw(finished: Workspace, tmp_path: Path) -> None:
    other = changed(finished, tmp_path / "other", "split.seed=1")
    (other.out / "models").mkdir(parents=True)
    for name in ("dense.safetensors", "pruned-90.safetensors"):
        shutil.copy(finished.out / "models" / name, other.out / "models" / name)
    with pytest.raises(UserError, match=r"trained|validated"):
        evaluate_stage(other, "dense")
    (other.out / "export").mkdir()
    shutil.copy(finished.onnx_path("dense"), other.onnx_path("dense"))
    with pytest.raises(UserError, match="another split"):
        evaluate_stage(other, "dense", onnx=True)


def test_a_network_of_another_split_is_not_pruned(finished: Workspace, tmp_path: Path) -> None:
    other = changed(finished, tmp_path / "other", "split.seed=1")
    (other.out / "models").mkdir(parents=True)
    shutil.copy(finished.model_path("dense"), other.model_path("dense"))
    for stage in (prune_stage, ladder_stage):
        with pytest.raises(UserError, match="trained on another split"):
            stage(other)
    assert [path.name for path in (other.out / "models").iterdir()] == ["dense.safetensors"]


def test_a_changed_split_in_the_same_folder_is_refused_and_the_folder_stays(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = copied(finished, tmp_path / "run", "split.seed=1")
    for stage in (run_stages, lambda opened: evaluate_stage(opened, "dense")):
        with pytest.raises(UserError, match=r"split\.json"):
            stage(workspace)
    assert load_config(workspace.out / "config.yaml") == finished.config


def test_stations_without_their_input_say_what_to_run(finished: Workspace, tmp_path: Path) -> None:
    empty = changed(finished, tmp_path / "empty")
    with pytest.raises(UserError, match="wcr-med train"):
        prune_stage(empty)
    with pytest.raises(UserError, match="there are dense, pruned-90"):
        evaluate_stage(finished, "pruned-50")
    with pytest.raises(UserError, match="wcr-med export"):
        evaluate_stage(copied(finished, tmp_path / "run"), "pruned-50", onnx=True)
    with pytest.raises(UserError, match="no evaluation of dense; it holds none"):
        report_stage(empty)


def test_the_network_keeps_the_names_it_was_trained_with(finished: Workspace, tmp_path: Path) -> None:
    _, artefact = open_model(finished, DENSE)
    assert artefact.channels == ("pre-contrast", "FLAIR", "post-contrast")
    metadata = describe(finished.onnx_path("pruned-90")).metadata
    assert metadata.channels == artefact.channels
    assert metadata.image_statistics == artefact.image_statistics
    statistics = ImageStatistics.from_dict(artefact.image_statistics, source="dense")
    assert statistics.n_images == len(artefact.trained_on)
    assert statistics.below_zero == (0.0, 0.0, 0.0)
    renamed = copied(finished, tmp_path / "renamed", "data.channels=[T1, FLAIR, T1c]")
    train_stage(renamed)  # names decide no weight: the network is kept, with its own
    assert open_model(renamed, DENSE)[1].channels == artefact.channels
    swapped = copied(finished, tmp_path / "swapped", "data.channels=[FLAIR, pre-contrast, post-contrast]")
    with pytest.raises(UserError, match=r"began with channels 1 pre-contrast, 2 FLAIR, .*now they are 1 FLAIR, 2 pre"):
        open_model(swapped, DENSE)


def test_channels_that_the_network_does_not_take_are_named(finished: Workspace, tmp_path: Path) -> None:
    workspace = changed(finished, tmp_path / "grey", "model.in_channels=1")
    with pytest.raises(UserError, match=r"3 channels .*model\.in_channels is 1; set model\.in_channels to 3"):
        run_stages(workspace)


def test_the_summary_says_that_the_patients_are_a_phantom(finished: Workspace) -> None:
    assert "a phantom that this package made; no real patients" in (finished.out / "summary.md").read_text()


def test_an_older_commit_of_the_network_is_told(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished, tmp_path / "run")
    monkeypatch.setattr("wcr_med.stages.summary.provenance", lambda *, seed: {"seed": seed, "commit": "later"})
    report_stage(workspace)
    assert "The dense network was trained at commit" in (workspace.out / "summary.md").read_text()


def test_the_plan_writes_nothing(finished: Workspace, tmp_path: Path) -> None:
    workspace = changed(finished, tmp_path / "planned")
    text = plan(workspace)
    assert "12 patients" in text
    assert "global_magnitude" in text
    assert not workspace.out.exists()


def test_names_of_pruned_networks() -> None:
    assert [pruned_name(value) for value in (0.9, 0.95, 0.985, 0.29)] == [
        "pruned-90",
        "pruned-95",
        "pruned-98.5",
        "pruned-29",
    ]
