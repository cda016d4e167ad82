"""One folder holds one design, log lines name the fold, and declared spacing is measured with."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.small import small_config
from tests.training.tiny import SPLIT, tiny_cache
from wcr_med.config import Config, parse_config
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.files import read_json
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.folds import fold_workspaces, log_lines_begin, run_folds
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.leak import AVERAGES, WARNING, LeakySplit, leak_path, leak_stage, load_leak, split_slices
from wcr_med.stages.workspace import Workspace, open_workspace


def of(root: Path, cache: Path, **split: object) -> Config:
    document = small_config(root, cache).model_dump(mode="json")
    return parse_config(document | {"split": document["split"] | split}, source="the test")


def test_the_saved_configuration_remembers_the_folds_and_an_interrupted_study_goes_on(
    phantom_root: Path, run_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(out=tmp_path / "run", config=of(phantom_root, run_cache, leave_out="all", institution_min=3))
    caplog.set_level(logging.INFO)
    done: list[str] = []

    def work(part: Workspace, number: int) -> None:
        if number == 1 and len(done) == 1:
            raise KeyboardInterrupt
        done.append(part.out.name)

    with pytest.raises(KeyboardInterrupt):
        run_folds(workspace, work)
    again = open_workspace(workspace.out, config_path=None)
    parts = run_folds(again, lambda part, _: done.append(part.out.name))
    assert parts == fold_workspaces(workspace)
    assert done == [done[0], *(part.out.name for part in parts)]
    splits = [Split.load(part.split_path) for part in parts]
    assert len({patient for split in splits for patient in split.test}) == 12
    assert f"[{splits[0].method}, 1 of {len(parts)}] " in caplog.text
    assert f"] {len(splits[0].train)} patients train, 3 validate" in caplog.text


def test_all_splits_are_refused_before_the_first_is_worked_on(
    phantom_root: Path, run_cache: Path, tmp_path: Path
) -> None:
    config = of(phantom_root, run_cache, folds=2, fold=None, validation_patients=6)
    with pytest.raises(UserError, match=r"split\.validation_patients"):
        run_folds(Workspace(out=tmp_path / "run", config=config), lambda *_: pytest.fail("worked on"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_folder_holds_one_design(phantom_root: Path, run_cache: Path, tmp_path: Path) -> None:
    alone = Workspace(out=tmp_path / "run", config=of(phantom_root, run_cache))
    study = Workspace(out=tmp_path / "run", config=of(phantom_root, run_cache, folds=2, fold=None))
    open_patients(alone)
    with pytest.raises(UserError, match="holds a run of one partition"):
        fold_workspaces(study)
    alone.split_path.unlink()
    run_folds(study, lambda *_: None)
    with pytest.raises(UserError, match="holds the folds of a study"):
        open_patients(alone)
    with pytest.raises(UserError, match="stands for every partition in turn"):
        open_patients(study)
    three = Workspace(out=tmp_path / "run", config=of(phantom_root, run_cache, folds=3, fold=None))
    with pytest.raises(UserError, match="was made from other patients or other split settings"):
        run_folds(three, lambda *_: None)


def test_the_prefix_ends_with_its_block(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(UserError), log_lines_begin("[fold 1 of 2] "):
        logging.getLogger("wcr_med.x").info("%d done", 3)
        logging.getLogger("other").info("%d done", 4)
        raise UserError("stop")
    logging.getLogger("wcr_med.x").info("%d done", 5)
    assert caplog.messages == ["[fold 1 of 2] 3 done", "4 done", "5 done"]


def test_a_change_of_spacing_scores_again_and_trains_nothing(finished: Workspace, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    workspace = open_workspace(tmp_path / "run", config_path=None, assignments=["data.spacing_mm=[4.0, 0.5, 2.0]"])
    evaluate_stage(workspace)
    before, after = (
        EvaluationResult.load(run.evaluation_folder("dense") / "metrics.json") for run in (finished, workspace)
    )
    assert all(np.isnan(row.pixel_mm) and np.isnan(row.voxel_ml) for row in before.rows)
    assert all(row.pixel_mm == 1.0 and row.voxel_ml == pytest.approx(0.004) for row in after.rows)
    assert [row.tp for row in after.rows] == [row.tp for row in before.rows]
    assert [row.hd95_px for row in after.rows] != [row.hd95_px for row in before.rows]
    assert open_patients(workspace).data_hash == open_patients(finished).data_hash


def test_the_leak_leaves_a_warning_and_no_network(finished: Workspace, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    workspace = open_workspace(tmp_path / "run", config_path=None, assignments=["training.epochs=1"])
    before = sorted(path for path in (workspace.out / "models").rglob("*"))
    assert WARNING in leak_stage(workspace)
    document = read_json(leak_path(workspace))
    assert document["warning"] == WARNING
    assert tuple(document["averages"]) == AVERAGES
    split = open_patients(workspace).split
    sizes = [document[f"n_slices_{part}"] for part in ("train", "validation", "test")]
    rows = EvaluationResult.load(workspace.evaluation_folder("dense") / "metrics.json").rows
    assert sizes[2] == sum(row.n_slices for row in rows)
    assert document["n_patients_shared"] > len(split.test)
    assert sorted(path for path in (workspace.out / "models").rglob("*")) == before
    assert not (workspace.out / ".leak").exists()
    stamp = leak_path(workspace).stat().st_mtime_ns
    leak_stage(workspace)
    assert leak_path(workspace).stat().st_mtime_ns == stamp
    leak = load_leak(leak_path(workspace), honest={"f1_pooled": 0.25, "of no leak": 1.0})
    assert (dict(leak.honest), set(leak.averages)) == ({"f1_pooled": 0.25}, {"f1_pooled"})


def test_a_leaky_split_is_as_large_as_the_honest_one_and_no_split() -> None:
    cache = tiny_cache()
    leaky = split_slices(cache, SPLIT, seed=0)
    assert not isinstance(leaky, Split)
    assert {field: len(getattr(leaky, field)) for field in ("train", "validation", "test")} == {
        field: len(cache.rows(getattr(SPLIT, field))) for field in ("train", "validation", "test")
    }
    assert isinstance(leaky, LeakySplit)
    assert not hasattr(leaky, "hash")


@pytest.mark.parametrize("document", [{"schema_version": 1}, {"schema_version": 1, "averages": []}, []])
def test_a_damaged_leak_is_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / "leak.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="run with --show-leak again"):
        load_leak(tmp_path / "leak.json", honest={})
