"""The configuration that a run folder keeps: cut, edited, of an older version."""

import logging
from pathlib import Path

import pytest

from tests.small import small_config
from wcr_med.config import Config
from wcr_med.errors import UserError
from wcr_med.stages.saved_config import check_saved
from wcr_med.stages.workspace import Workspace, open_workspace, save_config


@pytest.fixture
def out(tmp_path: Path) -> Path:
    config = small_config(tmp_path / "images", tmp_path / "cache")
    evaluation = config.evaluation.model_copy(update={"margin": 0.2})
    out = tmp_path / "run"
    save_config(Workspace(out=out, config=config.model_copy(update={"evaluation": evaluation})))
    return out


def test_as_written_nothing_is_said(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        workspace = open_workspace(out, config_path=None)
    assert workspace.config.evaluation.margin == 0.2
    assert (workspace.notes, caplog.text) == ((), "")


def test_a_file_cut_at_the_end_of_any_line_is_refused(out: Path) -> None:
    path = out / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    for n_lines in range(1, len(lines)):
        path.write_text("".join(lines[:n_lines]))
        with pytest.raises(UserError, match=rf"{path}: "):
            open_workspace(out, config_path=None)


def test_the_margin_that_was_cut_off_is_named(out: Path) -> None:
    path = out / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "margin:" not in line))
    with pytest.raises(UserError, match=r"was cut or edited after it was written: evaluation.margin is missing;"):
        open_workspace(out, config_path=None)


def test_an_edited_value_counts_and_is_told_of(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = out / "config.yaml"
    path.write_text(path.read_text().replace("margin: 0.2", "margin: 0.3"))
    workspace = open_workspace(out, config_path=None)
    assert workspace.config.evaluation.margin == 0.3
    assert "evaluation.margin was 0.2 and is 0.3; the file counts" in caplog.text
    assert workspace.notes == (
        "The run's config.yaml was edited after it was written: evaluation.margin was 0.2 and is 0.3.",
    )


def test_another_configuration_is_not_held_against_the_saved_one(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((out / "config.yaml").read_text())
    (out / "config.yaml").write_text("seed: 1\n")
    assert open_workspace(out, config_path=other).notes == ()


def test_comments_are_nobodys_concern(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = out / "config.yaml"
    path.write_text("# mine\n" + path.read_text())
    assert check_saved(path, Config) == ()
    assert caplog.text == ""


def test_a_folder_of_an_older_version_opens_with_a_line(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    (out / ".done" / "config.json").unlink()
    with caplog.at_level(logging.INFO):
        assert open_workspace(out, config_path=None).config.evaluation.margin == 0.2
    assert "config.yaml: nothing vouches for it" in caplog.text


def test_a_damaged_record_is_told_of(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = out / ".done" / "config.json"
    record.write_text(record.read_text().replace('"margin": 0.2', '"margin": 0.4'))
    notes = open_workspace(out, config_path=None).notes
    assert "since its record is damaged" in notes[0]
    assert str(record) in caplog.text
