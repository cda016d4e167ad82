"""Pruning to what is wanted: bounds on Dice, size and latency."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wcr_med import native
from wcr_med.artefacts import load_model
from wcr_med.cli import app
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.export import MeasuredExport
from wcr_med.models import build_model, sparsity
from wcr_med.pruning import Mask
from wcr_med.pruning.bounds import Bounds
from wcr_med.stages import candidates
from wcr_med.stages.candidates import possible_sparsities
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage
from wcr_med.stages.prune import prune_stage
from wcr_med.stages.targets import parse_bounds, target_stage
from wcr_med.stages.workspace import Workspace, open_workspace

GRID = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95)


def copied(workspace: Workspace, target: Path, *assignments: str) -> Workspace:
    """A copy of a finished run that holds no pruned network."""
    shutil.copytree(workspace.out, target)
    for path in (target / "models").glob("pruned-*"):
        path.unlink()
    return open_workspace(target, config_path=target / "config.yaml", assignments=assignments)


def models_of(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.out / "models").iterdir())


@pytest.fixture(autouse=True)
def short_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "GRID", GRID)


@pytest.fixture
def made_up_exports(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Exports that weigh 1000 bytes a kept per cent and take as many microseconds; gives the sparsities exported."""
    exported: list[float] = []

    def measure(model, artefact, config, *, channel_files, timed_on):
        assert channel_files is None
        step = artefact.history[-1]
        assert step["step"] == "search_target"
        exported.append(step["sparsity"])
        kept = 100 * (1 - sparsity(model).sparsity_prunable)
        latency = None if timed_on is None else kept / 1000 / (1 + 3 * step["cost_weight"])
        return MeasuredExport(size_bytes=round(1000 * kept), latency_ms=latency)

    monkeypatch.setattr(candidates, "measure_export", measure)
    return exported


@pytest.fixture
def falling_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dice that falls with the zeros of a network: 0.9 minus their share."""
    choose = candidates.Candidates._with_dice

    def fall(self, model, artefact):
        artefact, _ = choose(self, model, artefact)
        return artefact, 0.9 - round(sparsity(model).sparsity_prunable, 3)

    monkeypatch.setattr(candidates.Candidates, "_with_dice", fall)


@pytest.mark.usefixtures("falling_dice")
def test_the_largest_sparsity_within_a_drop(finished: Workspace, tmp_path: Path, made_up_exports: list[float]) -> None:
    workspace = copied(finished, tmp_path / "run")
    line = target_stage(workspace, Bounds(max_dice_drop=0.7))
    assert "pruned-60.safetensors: sparsity 0.6 gives dice_patient 0.3000 (drop 0.6000)" in line
    assert "held by --max-dice-drop" in line
    assert made_up_exports == []
    assert models_of(workspace) == [
        "dense.safetensors", "pruned-60.mask.json", "pruned-60.mask.safetensors", "pruned-60.safetensors",
    ]  # fmt: skip


def test_what_is_written_is_what_was_measured(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run")
    target_stage(workspace, Bounds(max_size_bytes=60_000))
    document = json.loads((workspace.out / "targets.json").read_text())
    answer = document["answer"]
    model, artefact = load_model(workspace.model_path(document["network"]))
    report = sparsity(model)
    assert report.n_prunable_zero == round(answer["sparsity"] * report.n_prunable)
    mask = Mask.load(workspace.model_path(document["network"]).with_suffix(".mask.safetensors"), model)
    assert mask.n - mask.n_kept == report.n_prunable_zero
    assert [step["step"] for step in artefact.history] == [
        "train", "choose_threshold", "prune", "reestimate_statistics", "choose_threshold", "search_target",
    ]  # fmt: skip
    assert artefact.history[-1]["max_size_bytes"] == 60_000
    assert artefact.history[-1]["dice_patient"] == answer["dice_patient"] == artefact.history[-2]["dice_patient"]
    split = Split.load(workspace.split_path)
    assert document["split_hash"] == split.hash
    assert document["n_validation_patients"] == len(split.validation)
    assert document["bound_by"] == (["max_size"] if answer["sparsity"] else [])
    assert document["provenance"]["seed"] == workspace.config.seed
    for trial in document["trials"]:
        assert trial["dice_drop"] == pytest.approx(document["dense_dice_patient"] - trial["dice_patient"])
        assert trial["not_met"] == (["max_size"] if trial["size_bytes"] > 60_000 else [])
        assert trial["latency_ms"] is None

    export_stage(workspace, document["network"])
    assert workspace.onnx_path(document["network"]).stat().st_size == answer["size_bytes"]
    assert document["network"] in evaluate_stage(workspace, document["network"])


@pytest.mark.usefixtures("falling_dice")
def test_small_and_accurate_together(finished: Workspace, tmp_path: Path, made_up_exports: list[float]) -> None:
    workspace = copied(finished, tmp_path / "run")
    line = target_stage(workspace, Bounds(max_size_bytes=45_000, max_dice_drop=0.7))
    assert "pruned-60" in line
    assert "held by --max-size" in line
    assert len(made_up_exports) == len(set(made_up_exports))


@pytest.mark.usefixtures("falling_dice", "made_up_exports")
@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            Bounds(max_size_bytes=1),
            r"--max-size 1 B: not met by any sparsity up to 0\.95; the best: sparsity 0\.95 .*5\.0 kB",
        ),
        (
            Bounds(max_size_bytes=15_000, max_dice_drop=0.7),
            r"--max-size 15\.0 kB and --max-dice-drop 0\.7 cannot both be met: sparsity 0\.9 .*drop 0\.9.*;"
            r" the best within the drop: sparsity 0\.6 .*drop 0\.6.*40\.0 kB",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_met_says_what_can_and_writes_nothing(
    finished: Workspace, tmp_path: Path, bounds: Bounds, message: str
) -> None:
    workspace = copied(finished, tmp_path / "run")
    with pytest.raises(UserError, match=message):
        target_stage(workspace, bounds)
    assert models_of(workspace) == ["dense.safetensors"]
    assert not (workspace.out / "targets.json").exists()


@pytest.mark.usefixtures("falling_dice", "made_up_exports")
@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
def test_cost_is_taken_into_account_where_latency_needs_it(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run")
    line = target_stage(workspace, Bounds(max_latency_ms=0.012, max_dice_drop=0.7))
    assert "pruned-60.safetensors: sparsity 0.6, cost_weight 1 gives" in line
    assert "with pruning.cost_weight 1, since --max-dice-drop 0.7 and --max-latency 12 us could not be met" in line
    document = json.loads((workspace.out / "targets.json").read_text())
    assert {trial["cost_weight"] for trial in document["trials"]} == {0.0, 0.5, 1.0}
    _, artefact = load_model(workspace.model_path("pruned-60"))
    assert [step["cost_weight"] for step in artefact.history if step["step"] == "prune"] == [1.0]
    layer_wise = copied(finished, tmp_path / "layer-wise", "pruning.score=layer_magnitude")
    with pytest.raises(UserError, match="cannot both be met"):
        target_stage(layer_wise, Bounds(max_latency_ms=0.012, max_dice_drop=0.7))


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
def test_latency_is_measured_on_this_machine(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "GRID", (0.9,))
    workspace = copied(finished, tmp_path / "run", "export.accelerate_rounds=1")
    line = target_stage(workspace, Bounds(max_latency_ms=60_000))
    trial = json.loads((workspace.out / "targets.json").read_text())["trials"][0]
    assert 0 < trial["latency_ms"] < 60_000
    assert trial["size_bytes"] > 0
    assert "pruned-90" in line


def test_without_the_accelerator_no_latency_is_searched(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")
    workspace = copied(finished, tmp_path / "run")
    with pytest.raises(UserError, match=r"^--max-latency: the accelerator was not built"):
        target_stage(workspace, Bounds(max_latency_ms=1))


def test_a_threshold_that_is_set_is_scored_as_set(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "evaluation.threshold=0.35")
    (workspace.out / "plan.json").unlink()  # it has another threshold, and would refuse this one
    target_stage(workspace, Bounds(max_dice_drop=0.99))
    document = json.loads((workspace.out / "targets.json").read_text())
    _, artefact = load_model(workspace.model_path(document["network"]))
    assert artefact.threshold == 0.35
    assert artefact.history[-1]["dice_patient"] == document["answer"]["dice_patient"]


def test_retraining_is_not_searched(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "pruning.finetune_epochs=2")
    with pytest.raises(UserError, match=r"pruning\.finetune_epochs is 2"):
        target_stage(workspace, Bounds(max_dice_drop=0.1))


@pytest.mark.usefixtures("falling_dice")
def test_a_number_makes_its_network_anew(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run", "pruning.sparsity=0.6")
    prune_stage(workspace)
    target_stage(workspace, Bounds(max_dice_drop=0.7))
    searched = workspace.model_path("pruned-60").read_bytes()
    assert load_model(workspace.model_path("pruned-60"))[1].history[-1]["step"] == "search_target"
    prune_stage(workspace)
    assert load_model(workspace.model_path("pruned-60"))[1].history[-1]["step"] == "choose_threshold"
    assert workspace.model_path("pruned-60-searched").read_bytes() == searched  # and the searched one is not lost


def test_a_floor_shortens_the_grid(finished: Workspace) -> None:
    model = build_model(finished.config.model, seed=0)
    assert possible_sparsities(model, 0.0) == GRID
    assert possible_sparsities(model, 0.15) == (0.0, 0.3, 0.6, 0.8)
    assert possible_sparsities(model, 0.999) == (0.0,)


def test_options_become_bounds() -> None:
    assert parse_bounds(max_dice_drop=None, max_size=None, max_latency=None) is None
    assert parse_bounds(max_dice_drop=0.0, max_size="1MB", max_latency="40ms") == Bounds(
        max_dice_drop=0.0, max_size_bytes=1e6, max_latency_ms=40
    )
    for value in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="--max-dice-drop"):
            parse_bounds(max_dice_drop=value, max_size=None, max_latency=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-size", "5"], "--max-size 5: has no unit; give one of B, kB, MB, KiB, MiB"),
        (["--max-latency", "5m"], "--max-latency 5m: is not a number and a unit; give one of us, ms, s"),
        (["--max-dice-drop", "1"], "--max-dice-drop 1: give a difference"),
        (["--max-size", "1MB", "--sparsity", "0.9"], "exclude each other"),
        (["--scan", "--sparsity", "0.9"], "--scan writes no network"),
        (["--scan", "--max-size", "1MB"], "--scan writes no network"),
        (["--repair"], "belong to --scan"),
        (["--no-repair", "--max-size", "1MB"], "belong to --scan"),
    ],
)
def test_options_that_do_not_fit_get_one_line(finished: Workspace, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["prune", "--out", str(finished.out), *options])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_the_command_line_plans_a_search(finished: Workspace) -> None:
    options = ["--max-size", "1MB", "--max-dice-drop", "0.01", "--dry-run"]
    result = CliRunner().invoke(app, ["prune", "--out", str(finished.out), *options])
    assert result.exit_code == 0
    line = result.output.rstrip().splitlines()[-1]
    assert line.startswith("prune: one-shot, global_magnitude, to the smallest sparsity that meets")
    assert "--max-dice-drop 0.01 and --max-size 1.000 MB, searched on 3 validation patients" in line
    assert not (finished.out / "targets.json").exists()


@pytest.mark.usefixtures("falling_dice")
def test_the_command_line_prunes_to_a_target(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished, tmp_path / "run")
    result = CliRunner().invoke(app, ["prune", "--out", str(workspace.out), "--max-dice-drop", "0.35"])
    assert result.exit_code == 0, result.output
    assert "pruned-30.safetensors: sparsity 0.3" in result.output
