"""The run folder: what counts as done, and where it may lie."""

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.small import small_config
from wcr_med.errors import UserError
from wcr_med.files import write_json
from wcr_med.stages.prune import prune_stage
from wcr_med.stages.report import report_stage
from wcr_med.stages.run import run_stages
from wcr_med.stages.side_by_side import side_by_side_stage
from wcr_med.stages.train import train_stage
from wcr_med.stages.workspace import Workspace, alone, open_workspace, save_config
from wcr_med.training import Group


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(out=tmp_path / "run", config=small_config(tmp_path / "images", tmp_path / "cache"))


@pytest.fixture
def stage(workspace: Workspace) -> Callable[..., int]:
    """Do a stage that writes a file and a folder; returns how often its work was done so far."""
    done: list[Path] = []
    result, folder = workspace.out / "result.txt", workspace.out / "masks"

    def work() -> None:
        done.append(result)
        folder.mkdir(parents=True, exist_ok=True)
        result.write_text("sound")

    def call(key: int = 0) -> int:
        workspace.once("stage", key=key, inputs=[], outputs=[result, folder], work=work)
        assert result.read_text() == "sound"
        return len(done)

    return call


def test_a_stage_is_done_once_for_each_key(stage: Callable[..., int]) -> None:
    assert [stage(), stage(), stage(1), stage(1)] == [1, 1, 2, 2]


@pytest.mark.parametrize("content", [b"", b"soun", b"other"])
def test_a_damaged_result_is_made_again(
    workspace: Workspace, stage: Callable[..., int], content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    stage()
    (workspace.out / "result.txt").write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert [stage(), stage()] == [2, 2]
    assert "result.txt: was changed" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_does_not_count(workspace: Workspace, stage: Callable[..., int], content: str) -> None:
    stage()
    (workspace.out / ".done" / "stage.json").write_text(content)
    assert [stage(), stage()] == [2, 2]


def test_a_record_without_contents_counts_while_the_files_are_there(
    workspace: Workspace, stage: Callable[..., int]
) -> None:
    stage()
    record = workspace.out / ".done" / "stage.json"
    fingerprint = record.read_text().split('"')[3]
    write_json(record, {"fingerprint": fingerprint})
    assert stage() == 1
    (workspace.out / "result.txt").unlink()
    assert stage() == 2


@pytest.mark.parametrize("name", ["", "../models/dense", "models/dense", "..", "/dense"])
def test_a_network_is_named_without_its_folder(workspace: Workspace, name: str) -> None:
    for place in (workspace.model_path, workspace.onnx_path, workspace.evaluation_folder):
        with pytest.raises(UserError, match="not the name of a network"):
            place(name)


@pytest.mark.parametrize(("out", "cache"), [("images/run", "cache"), ("run", "images/cache"), ("images", "cache")])
def test_results_never_lie_among_the_images(tmp_path: Path, out: str, cache: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(small_config(tmp_path / "images", tmp_path / cache).to_yaml())
    with pytest.raises(UserError, match=r"lies in data\.root"):
        open_workspace(tmp_path / out, config_path=path)
    assert not (tmp_path / "images").exists()


def test_refused_settings_leave_the_saved_configuration(finished: Workspace) -> None:
    before = (finished.out / "config.yaml").read_text()
    other = open_workspace(finished.out, config_path=None, assignments=["seed=5"])
    with pytest.raises(UserError, match="seed was set to 0 when training began"):
        train_stage(other)
    assert (finished.out / "config.yaml").read_text() == before


def test_what_a_stage_left_is_vouched_for(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    network, table = workspace.model_path("dense"), workspace.evaluation_folder("dense") / "per_patient.csv"
    for path in (network, table):
        path.parent.mkdir(parents=True)
        path.write_text("dice 0.5625")
    with caplog.at_level(logging.INFO):
        workspace.vouch("evaluate-dense")
    assert "nothing vouches for what evaluate-dense left" in caplog.text  # as in a folder of an older version

    workspace.once("evaluate-dense", key=0, inputs=[network], outputs=[table], work=lambda: None)
    workspace.vouch("evaluate-dense")
    table.write_text("dice 0.5725")
    with pytest.raises(UserError, match=rf"{table}: was changed or damaged after it was written"):
        workspace.vouch("evaluate-dense")
    table.write_text("dice 0.5625")
    network.write_text("another")
    with pytest.raises(UserError, match=rf"{network}: is another network than the one that evaluate-dense was made"):
        workspace.vouch("evaluate-dense")
    network.unlink()  # a report needs none
    workspace.vouch("evaluate-dense")
    record = workspace.out / ".done" / "evaluate-dense.json"
    record.write_text(record.read_text().replace("per_patient", "per_lesion_"))
    with pytest.raises(UserError, match="its SHA-256 does not fit"):
        workspace.vouch("evaluate-dense")


def test_a_run_does_not_take_the_folder_of_a_comparison(workspace: Workspace) -> None:
    (workspace.out / "trials").mkdir(parents=True)
    save_config(workspace)
    with pytest.raises(UserError, match=r"holds a comparison, whose config\.yaml a run would replace"):
        open_workspace(workspace.out, config_path=None)


_HOLD = """
import sys, time
from pathlib import Path
from wcr_med.locks import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], None]]:
    """Another command works in a folder until the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def run(folder: Path) -> None:
        process = subprocess.Popen([sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_two_commands_never_write_one_run_folder(workspace: Workspace, hold: Callable[[Path], None]) -> None:
    hold(workspace.out)
    for stage in (train_stage, run_stages, prune_stage, report_stage):
        with pytest.raises(UserError, match=rf"{workspace.out}: .*works in it; wait until that is done"):
            stage(workspace)
    assert [path.name for path in workspace.out.iterdir()] == [".lock"]


def test_other_processes_of_one_training_take_no_lock(
    workspace: Workspace, hold: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(workspace.out)
    monkeypatch.setattr(Group, "main_first", lambda _: contextlib.nullcontext())
    with pytest.raises(UserError, match=r"images"):  # it got further: there are none
        train_stage(workspace, Group(rank=1))


def test_two_runs_are_not_compared_while_one_is_made(workspace: Workspace, hold: Callable[[Path], None]) -> None:
    hold(workspace.out)
    with pytest.raises(UserError, match="works in it"):
        side_by_side_stage(workspace.out, workspace.out.parent / "b", workspace.out.parent / "c")


def test_a_fold_and_its_study_exclude_each_other_and_two_folds_do_not(
    workspace: Workspace, hold: Callable[[Path], None]
) -> None:
    save_config(workspace)
    folds = [Workspace(out=workspace.out / "folds" / name, config=workspace.config) for name in ("0", "1")]
    with workspace.alone():
        pass
    hold(folds[0].out)
    with folds[1].alone():
        pass


def test_a_stage_within_a_stage_goes_on_and_litter_of_a_killed_one_is_removed(workspace: Workspace) -> None:
    litter = workspace.out / "models" / ".partial-ab12_z9q-dense.safetensors"
    litter.parent.mkdir(parents=True)
    litter.touch()

    @alone
    def inner(workspace: Workspace) -> bool:
        litter.touch()
        return litter.exists()

    @alone
    def outer(workspace: Workspace) -> bool:
        assert not litter.exists()
        return inner(workspace) and litter.exists()

    assert outer(workspace)
