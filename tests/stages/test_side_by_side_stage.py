import json
from pathlib import Path

import pytest
import yaml

from tests.report.side_by_side.squares import result_of, split_of
from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json, write_text
from wcr_med.stages.side_by_side import side_by_side_stage

A = {"p1": 0, "p2": 1, "p3": 2, "p4": 0}


def write_part(folder, shifts, *, network="pruned-90", split=None):
    split = split or split_of(shifts)
    split.save(folder / "split.json")
    result_of(shifts, split=split).save(folder / "evaluation" / network)


def write_config(folder, **split):
    document = {
        "data": {"root": str(folder / "images")},
        "split": {"validation_patients": 1, "test_patients": 4, **split},
        "training": {"epochs": 1},
        "evaluation": {"resamples": 50},
        "report": {"permutations": 50, "min_subgroup": 3},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(document))


@pytest.fixture
def make_folder(tmp_path):
    def make(name, shifts, **options):
        folder = tmp_path / name
        write_config(folder)
        write_part(folder, shifts, **options)
        return folder

    return make


def test_compares_two_folders(make_folder, tmp_path):
    a, b = make_folder("a", A), make_folder("b", A | {"p1": 3, "p9": 0})
    line = side_by_side_stage(a, b, tmp_path / "out")
    assert line.startswith("b against a: dice_patient \u22120.0750 on 4 common patients. ")
    document = read_json(tmp_path / "out" / "compare.json")
    assert document["b"]["only_here"] == ["p9"]
    assert [entry["field"] for entry in document["fields"]] == ["data.root"]
    assert (tmp_path / "out" / "compare.html").is_file()


def test_model_names_the_network_of_both(make_folder, tmp_path):
    a, b = make_folder("a", A, network="dense"), make_folder("b", A, network="dense")
    side_by_side_stage(a, b, tmp_path / "out", model="dense")
    assert read_json(tmp_path / "out" / "compare.json")["a"]["network"] == "dense"
    with pytest.raises(UserError, match=r"no evaluation of pruned-90; it holds dense; run `wcr-med evaluate .*--model"):
        side_by_side_stage(a, b, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_folds_are_pooled(make_folder, tmp_path):
    folds = tmp_path / "folds-run"
    write_config(folds, folds=2, fold=None)
    for place, (shifts, train) in enumerate([({"p1": 0, "p2": 1}, "p3"), ({"p3": 2, "p4": 0}, "p1")]):
        split = split_of(shifts, train=(train,), method=f"fold {place + 1} of 2")
        write_part(folds / "folds" / str(place), shifts, split=split)
    side_by_side_stage(make_folder("a", A), folds, tmp_path / "out")
    document = read_json(tmp_path / "out" / "compare.json")
    assert document["n_common"] == 4
    assert document["paired"]["mean_difference"] == 0
    assert len(document["b"]["split_hashes"]) == 2
    assert document["b"]["scores"] == document["a"]["scores"]


def test_runs_of_one_name_go_by_their_paths(make_folder, tmp_path):
    a, b = make_folder("one/lgg", A), make_folder("two/lgg", A)
    side_by_side_stage(a, b, tmp_path / "out")
    document = read_json(tmp_path / "out" / "compare.json")
    assert (document["a"]["name"], document["b"]["name"]) == (str(a), str(b))


def test_one_run_twice_is_refused(make_folder, tmp_path):
    a = make_folder("a", A)
    with pytest.raises(UserError, match="is given twice"):
        side_by_side_stage(a, a, tmp_path / "out")


def test_writing_into_a_run_is_refused(make_folder):
    a, b = make_folder("a", A), make_folder("b", A)
    with pytest.raises(UserError, match="is one of the runs"):
        side_by_side_stage(a, b, b)


def test_a_folder_that_is_no_run(make_folder, tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        side_by_side_stage(make_folder("a", A), tmp_path / "nothing", tmp_path / "out")


@pytest.mark.parametrize(("split", "where"), [({"folds": 2, "fold": None}, "folds/1"), ({"leave_out": "all"}, "folds")])
def test_folds_that_were_not_run(make_folder, tmp_path, split, where):
    write_config(tmp_path / "b", **split)
    if "folds" in split:
        write_part(tmp_path / "b" / "folds" / "0", {"p1": 0})
    with pytest.raises(UserError, match=f"{where}: was not run yet"):
        side_by_side_stage(make_folder("a", A), tmp_path / "b", tmp_path / "out")


def test_institutions_in_turn_are_pooled(make_folder, tmp_path):
    run = tmp_path / "sites"
    write_config(run, leave_out="all")
    for site, shifts in (("CS", {"p1": 0, "p2": 1}), ("DU", {"p3": 2})):
        split = split_of(shifts, method=f"institution {site} left out")
        write_part(run / "folds" / site, shifts, split=split)
    side_by_side_stage(make_folder("a", A), run, tmp_path / "out")
    assert read_json(tmp_path / "out" / "compare.json")["n_common"] == 3


def test_an_evaluation_of_another_split_is_refused(make_folder, tmp_path):
    a, b = make_folder("a", A), make_folder("b", A)
    split_of(A, train=("other",)).save(b / "split.json")
    with pytest.raises(UserError, match="was scored on another split"):
        side_by_side_stage(a, b, tmp_path / "out")


def test_another_schema_is_refused(make_folder, tmp_path):
    a, b = make_folder("a", A), make_folder("b", A)
    path = b / "evaluation" / "pruned-90" / "metrics.json"
    write_json(path, json.loads(path.read_text()) | {"schema_version": 1})
    with pytest.raises(UserError, match="schema version 1, expected 3"):
        side_by_side_stage(a, b, tmp_path / "out")


def test_the_folder_of_another_run_or_comparison_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "study"
    out.mkdir()
    (out / "config.yaml").touch()
    with pytest.raises(UserError, match=r"holds a run or a comparison, .* name another folder"):
        side_by_side_stage(tmp_path / "a", tmp_path / "b", out)
    assert [path.name for path in out.iterdir()] == ["config.yaml"]
