"""A study of several folds, from the command's own function to its report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.small import small_config
from tests.training.tiny import SPLIT, tiny_cache
from wcr_med.config import Config
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.stages.folds import fold_workspaces
from wcr_med.stages.leak import WARNING, load_leak, split_slices
from wcr_med.stages.run import plan, run_stages
from wcr_med.stages.workspace import Workspace


def study(root: Path, cache: Path, **split: object) -> Config:
    document = small_config(root, cache).model_dump(mode="json")
    document["split"] |= split
    document["training"]["epochs"] = 1
    document["pruning"]["also"] = [0.95]
    document["report"] |= {
        "robustness": ["blur"],
        "robustness_patients": 1,
        "bench_runs": 2,
        "permutations": 20,
        "gallery_patients": 2,
    }
    return Config.model_validate_json(json.dumps(document))


def test_two_folds_test_every_patient_once(phantom_root: Path, run_cache: Path, tmp_path: Path) -> None:
    workspace = Workspace(out=tmp_path / "run", config=study(phantom_root, run_cache, folds=2, fold=None))
    run_stages(workspace, show_leak=True)
    parts = fold_workspaces(workspace)
    tested = [patient_id for part in parts for patient_id in Split.load(part.split_path).test]
    assert len(tested) == len(set(tested)) == 12
    table = pd.read_csv(workspace.out / "report" / "per_patient.csv")
    assert sorted(table.network.unique()) == ["dense", "pruned-90", "pruned-95"]
    assert sorted(table[table.network == "dense"].patient_id) == sorted(tested)
    metrics = json.loads((workspace.out / "report" / "metrics.json").read_text())
    assert metrics["design"] == "cross-validation"
    assert metrics["n_patients"] == 12
    assert {entry["name"] for entry in metrics["partitions"]} == {"fold 1 of 2", "fold 2 of 2"}
    page = (workspace.out / "report" / "report.html").read_text()
    assert "12\N{NO-BREAK SPACE}made-up patients" in page

    leak = json.loads((workspace.out / "leak.json").read_text())
    assert leak["warning"] == WARNING
    assert leak["n_patients_shared"] > 0
    assert not (workspace.out / ".leak").exists()
    assert {path.name for path in parts[0].out.glob("models/*.safetensors")} == {
        "dense.safetensors",
        *(f"pruned-{rate}{kind}.safetensors" for rate in (90, 95) for kind in ("", ".mask")),
    }
    assert not (parts[1].out / "export").exists()


def test_the_plan_names_every_fold(phantom_root: Path, run_cache: Path, tmp_path: Path) -> None:
    by_fold = Workspace(out=tmp_path, config=study(phantom_root, run_cache, folds=3, fold=None))
    assert [part.out for part in fold_workspaces(by_fold)] == [tmp_path / "folds" / str(fold) for fold in range(3)]
    text = plan(by_fold)
    assert "fold 3 of 3" in text
    assert "ladder: score" not in text
    by_site = Workspace(out=tmp_path, config=study(phantom_root, run_cache, leave_out="all", institution_min=2))
    assert plan(by_site).count("left out") == len(fold_workspaces(by_site)) > 1
    alone = Workspace(out=tmp_path, config=study(phantom_root, run_cache))
    assert fold_workspaces(alone) == (alone,)


def test_a_leaky_split_shares_patients_and_no_slice() -> None:
    cache = tiny_cache()
    leaky = split_slices(cache, SPLIT, seed=0)
    rows = np.concatenate([leaky.train, leaky.validation, leaky.test])
    assert sorted(rows) == list(range(len(cache)))
    tested, learned = (set(cache.patient_ids_N[rows].tolist()) for rows in (leaky.test, leaky.train))
    assert leaky.n_patients_shared == len(tested & learned) > 0


def test_another_schema_of_leak_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leak.json").write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match=r"leak\.json: not of schema version 1; run with --show-leak again"):
        load_leak(tmp_path / "leak.json", honest={})
