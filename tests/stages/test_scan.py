"""The sensitivity scan of a finished run, and its pieces."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.training.tiny import SPLIT, tiny_cache
from wcr_med.artefacts import load_model
from wcr_med.cli import app
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.models import build_model, prunable_parameters
from wcr_med.pruning.select import n_protected
from wcr_med.stages import scan
from wcr_med.stages.scan import scan_stage, subset
from wcr_med.stages.workspace import Workspace, open_workspace
from wcr_med.training.processor import Processor

_CPU = Processor(device=torch.device("cpu"), precision=torch.float32)


def copied(workspace: Workspace, target: Path, *assignments: str) -> Workspace:
    shutil.copytree(workspace.out, target)
    return open_workspace(target, config_path=target / "config.yaml", assignments=assignments)


def scanner(**changes):
    from tests.training.tiny import tiny_config

    model = build_model(tiny_config().model, seed=0)
    settings = {"batch_size": 4, "threshold": 0.5, "repair_batches": None} | changes
    return model, scan._Scanner(model, tiny_cache(), SPLIT.validation, _CPU, **settings)


def test_a_scan_describes_every_layer_and_writes_no_network(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SPARSITIES", (0.5, 1.0))
    workspace = copied(finished, tmp_path / "run")
    models = sorted(path.name for path in (workspace.out / "models").iterdir())
    table = scan_stage(workspace)
    dense, artefact = load_model(workspace.model_path("dense"))
    kernels = prunable_parameters(dense)
    document = json.loads((workspace.out / "scan" / "sensitivity.json").read_text())
    assert [layer["name"] for layer in document["layers"]] == list(kernels)
    for layer, kernel in zip(document["layers"], kernels.values(), strict=True):
        n = kernel.numel()
        most = n - n_protected(n, workspace.config.pruning.layer_floor)
        assert [point["n_removed"] for point in layer["points"]] == [min(round(0.5 * n), most), most]
    split = Split.load(workspace.split_path)
    assert document["split_hash"] == split.hash
    assert document["threshold"] == artefact.threshold
    assert document["n_patients"] == len(split.validation)
    assert document["repair"] == []
    assert document["provenance"]["seed"] == workspace.config.seed
    assert len(list(csv.DictReader((workspace.out / "scan" / "sensitivity.csv").open()))) == 2 * len(kernels)
    assert table.splitlines()[0].startswith("layer")
    assert len(table.splitlines()) == len(kernels) + 2
    assert sorted(path.name for path in (workspace.out / "models").iterdir()) == models

    before = (workspace.out / "scan" / "sensitivity.csv").read_bytes()
    scan_stage(workspace)
    assert (workspace.out / "scan" / "sensitivity.csv").read_bytes() == before


def test_repair_is_named_and_changes_the_scores(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SPARSITIES", (0.9,))
    workspace = copied(finished, tmp_path / "run")
    scores = []
    for repair in (False, True):
        scan_stage(workspace, repair=repair)
        document = json.loads((workspace.out / "scan" / "sensitivity.json").read_text())
        scores.append([layer["points"][0]["dice_patient"] for layer in document["layers"]])
    assert document["repair"] == ["reestimate_statistics"]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("repair", [False, True])
def test_the_network_is_put_back_after_every_point(repair: bool) -> None:
    batches = [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))] if repair else None
    model, scanner_of_it = scanner(repair_batches=batches)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layers = list(scanner_of_it.scan((0.0, 0.9), 0.001))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    dense = scanner_of_it.score()
    for layer in layers:
        assert (layer.points[0].dice_patient, layer.points[0].f1_pooled) == dense


def test_what_is_scored_has_the_smallest_weights_of_one_layer_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, scanner_of_it = scanner()
    kernels = {name: kernel.detach().clone() for name, kernel in prunable_parameters(model).items()}
    seen = []

    def score() -> tuple[float, float]:
        seen.append({name: kernel.detach().clone() for name, kernel in prunable_parameters(model).items()})
        return 0.5, 0.5

    monkeypatch.setattr(scanner_of_it, "score", score)
    list(scanner_of_it.scan((0.8,), 0.0))
    for name, found in zip(kernels, seen, strict=True):
        assert [other for other in kernels if not torch.equal(found[other], kernels[other])] == [name]
        removed = found[name] == 0
        assert int(removed.sum()) == round(0.8 * removed.numel())
        if removed.all():
            continue
        assert kernels[name][removed].abs().max() <= kernels[name][~removed].abs().min()


def test_slices_are_drawn_by_the_seed_and_half_of_them_hold_tumour() -> None:
    cache = tiny_cache()
    chosen = subset(cache, ("d", "e"), per_patient=4, seed=3)
    assert list(chosen.patient_ids_N) == ["d"] * 4 + ["e"] * 4
    assert chosen.has_tumour_N.sum() == 4
    again = subset(cache, ("d", "e"), per_patient=4, seed=3)
    assert np.array_equal(chosen.images_NChw, again.images_NChw)
    assert any(
        not np.array_equal(chosen.slice_numbers_N, subset(cache, ("d", "e"), per_patient=4, seed=seed).slice_numbers_N)
        for seed in range(4, 10)
    )


@pytest.mark.parametrize(("per_patient", "n", "n_tumour"), [(1, 1, 1), (5, 5, 3), (6, 6, 4), (99, 6, 4)])
def test_where_one_kind_is_short_the_other_fills_up(per_patient: int, n: int, n_tumour: int) -> None:
    chosen = subset(tiny_cache(), ("d",), per_patient=per_patient, seed=0)
    assert (len(chosen), chosen.has_tumour_N.sum()) == (n, n_tumour)
    assert list(chosen.slice_numbers_N) == sorted(chosen.slice_numbers_N)


def test_without_a_tumour_nothing_can_be_lost(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def healthy(cache, *arguments, **options):
        chosen = subset(cache, *arguments, **options)
        chosen.has_tumour_N[:] = False
        return chosen

    workspace = copied(finished, tmp_path / "run")
    monkeypatch.setattr(scan, "subset", healthy)
    with pytest.raises(UserError, match=r"no validation patient has a tumour.*split\.seed"):
        scan_stage(workspace)
    assert not (workspace.out / "scan").exists()


def test_the_command_line_plans_a_scan(finished: Workspace) -> None:
    result = CliRunner().invoke(app, ["prune", "--out", str(finished.out), "--scan", "--repair", "--dry-run"])
    assert result.exit_code == 0
    line = result.output.rstrip().splitlines()[-1]
    assert line.startswith("scan: each layer alone to 50, 80, 90, 95, 98, 100 %, statistics re-estimated each time")
