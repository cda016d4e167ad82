"""Exported files on this machine, made of networks that were never trained."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.exported import export_small, small_network
from tests.small import small_config
from wcr_med.errors import UserError
from wcr_med.files import sha256_of_file, write_json
from wcr_med.provenance import available_cores, processor_name
from wcr_med.stages import deployment
from wcr_med.stages.deployment import deployment_path, deployment_stage, load_deployments
from wcr_med.stages.export import accelerated_path, manifest_path
from wcr_med.stages.workspace import Workspace


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both files and their manifests."""
    folder = tmp_path_factory.mktemp("export")
    return {
        name: export_small(folder / f"{name}.onnx", small_network(sparsity=sparsity))
        for name, sparsity in (("dense", 0.0), ("pruned-90", 0.9))
    }


@pytest.fixture
def workspace(files: dict[str, Any], phantom_root: Path, run_cache: Path, tmp_path: Path) -> Workspace:
    config = small_config(phantom_root, run_cache)
    config = config.model_copy(update={"report": config.report.model_copy(update={"bench_runs": 3})})
    made = Workspace(out=tmp_path / "run", config=config)
    for name, result in files.items():
        target = made.onnx_path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(result.path.read_bytes())
        write_json(manifest_path(target), result.to_dict())
    return made


def with_second(workspace: Workspace, name: str, *, accelerated: bool) -> Path:
    """An accelerated file, of the portable one's content, and what its manifest would say."""
    portable = workspace.onnx_path(name)
    second = accelerated_path(portable)
    second.write_bytes(portable.read_bytes())
    manifest = json.loads(manifest_path(portable).read_text())
    parity = {**manifest["parity"], "largest_logit_difference": 0.5, "largest_dice_difference": 0.25, "n_slices": 2}
    manifest["accelerated"] = {
        "file": second.name,
        "size_bytes": second.stat().st_size,
        "sha256": sha256_of_file(second),
        "accelerated": accelerated,
        "parity": parity if accelerated else None,
    }
    write_json(manifest_path(portable), manifest)
    return second


def test_each_file_is_measured(workspace: Workspace, files: dict[str, Any]) -> None:
    line = deployment_stage(workspace)
    assert "dense.onnx" in line
    assert "pruned-90.onnx" in line
    for name, result in files.items():
        (found,) = load_deployments(workspace.out, name)
        assert (found.file, found.accelerated) == (f"{name}.onnx", False)
        assert found.size_bytes == workspace.onnx_path(name).stat().st_size
        assert found.dense_bytes == result.dense_size_bytes
        assert found.logit_difference == result.parity.largest_logit_difference
        assert found.dice_difference == result.parity.largest_dice_difference
        assert found.n_slices == result.parity.n_slices
        assert [latency.threads for latency in found.latency] == sorted({1, available_cores()})
        assert all(0 < latency.p50_ms <= latency.p95_ms and latency.n_runs == 3 for latency in found.latency)
        assert found.processor == processor_name()
        assert found.peak_memory_bytes is None or found.peak_memory_bytes > 10e6


def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """No clock and no child; returns what was timed."""
    timed: list[list[str]] = []

    def times(runs: dict[str, Callable[[], object]], n_runs: int) -> dict[str, list[float]]:
        timed.append(list(runs))
        return {name: [2.0] * n_runs for name in runs}

    monkeypatch.setattr(deployment, "time_in_turn", times)
    monkeypatch.setattr(deployment, "measure_peak_memory", lambda *_: 7)
    return timed


def test_it_is_done_once_for_the_same_files(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = quick(monkeypatch)
    deployment_stage(workspace)
    n_timed = len(timed)
    assert all(names == ["dense.onnx", "pruned-90.onnx"] for names in timed)  # side by side
    deployment_stage(workspace)
    assert len(timed) == n_timed
    deployment_path(workspace.out, "dense").unlink()
    deployment_stage(workspace)
    assert len(timed) == 2 * n_timed


def test_accelerated_files_stand_beside_the_portable_ones(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(deployment, "require_accelerator", lambda: None)
    with_second(workspace, "dense", accelerated=False)  # a copy, since nothing was faster
    with_second(workspace, "pruned-90", accelerated=True)
    deployment_stage(workspace)
    assert [row.file for row in load_deployments(workspace.out, "dense")] == ["dense.onnx"]
    portable, second = load_deployments(workspace.out, "pruned-90")
    assert (second.file, second.accelerated, second.dense_bytes) == (
        "pruned-90.accelerated.onnx", True, portable.dense_bytes,
    )  # fmt: skip
    assert second.logit_difference == portable.logit_difference + 0.5  # it was compared with the portable file
    assert second.dice_difference == portable.dice_difference + 0.25
    assert second.n_slices == 2
    assert second.peak_memory_bytes == 7


def test_what_does_not_run_here_is_listed_without_times(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent() -> None:
        raise UserError("the accelerator was not built")

    quick(monkeypatch)
    monkeypatch.setattr(deployment, "require_accelerator", absent)
    with_second(workspace, "pruned-90", accelerated=True)
    deployment_stage(workspace)
    portable, second = load_deployments(workspace.out, "pruned-90")
    assert portable.latency
    assert (second.latency, second.peak_memory_bytes) == ((), None)
    assert "the accelerator was not built" in caplog.text


def test_files_that_do_not_fit_their_manifest_are_refused(workspace: Workspace) -> None:
    target = workspace.onnx_path("pruned-90")
    target.write_bytes(target.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"pruned-90\.onnx: is not the file that its manifest describes"):
        deployment_stage(workspace)
    write_json(manifest_path(target), {"size_bytes": 1})
    with pytest.raises(UserError, match=r"pruned-90\.json: a field is missing"):
        deployment_stage(workspace)
    target.unlink()
    with pytest.raises(UserError, match="wcr-med export --model pruned-90"):
        deployment_stage(workspace)
    assert not deployment_path(workspace.out, "dense").exists()


def test_what_was_never_exported_has_no_measurements(tmp_path: Path) -> None:
    assert load_deployments(tmp_path, "dense") == ()


def test_other_documents_are_refused(tmp_path: Path) -> None:
    path = deployment_path(tmp_path, "dense")
    write_json(path, {"schema_version": 9, "files": []})
    with pytest.raises(UserError, match=r"dense\.deployment\.json: schema version 9"):
        load_deployments(tmp_path, "dense")
    for row in ({}, {"latency": [], "unknown": 1}):
        write_json(path, {"schema_version": 1, "network": "dense", "files": [row]})
        with pytest.raises(UserError, match="a field is missing or unknown"):
            load_deployments(tmp_path, "dense")
    record = deployment.Deployment(
        file="dense.onnx", size_bytes=1, dense_bytes=2, logit_difference=0.0, dice_difference=0.0, n_slices=3
    )
    write_json(path, {"schema_version": 1, "network": "dense", "files": [asdict(record)]})
    assert load_deployments(tmp_path, "dense") == (record,)


def test_the_ratio_to_the_dense_file_has_its_range(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    took = {"dense.onnx": 6.0, "pruned-90.onnx": 2.0}
    monkeypatch.setattr(deployment, "time_in_turn", lambda runs, _n_runs: {name: [took[name]] * 15 for name in runs})
    line = deployment_stage(workspace)
    assert (
        "pruned-90.onnx against the dense file: 3.00 times as fast (3.00 to 3.00, 5th to 95th percentile of 3" in line
    )
    (dense,), (pruned,) = (load_deployments(workspace.out, name) for name in ("dense", "pruned-90"))
    assert all(latency.to_dense is None for latency in dense.latency)
    assert all(latency.to_dense.median == 3.0 for latency in pruned.latency)
    path = deployment_path(workspace.out, "pruned-90")
    earlier = json.loads(path.read_text())
    for latency in earlier["files"][0]["latency"]:
        del latency["to_dense"]
    write_json(path, {**earlier, "schema_version": 1})
    assert all(latency.to_dense is None for latency in load_deployments(workspace.out, "pruned-90")[0].latency)
