"""The channels of a run are those of its training, whatever they are called."""

from pathlib import Path
from typing import Any

import pytest

from wcr_med.config import parse_config
from wcr_med.errors import UserError
from wcr_med.stages.channels import note_channels, require_same_channels
from wcr_med.stages.workspace import Workspace

PATTERNS = {"t1": "*_t1.nii", "flair": "*_flair.nii", "t1ce": "*_t1ce.nii"}


def workspace(out: Path, **data: Any) -> Workspace:
    document = {
        "data": {"root": "/nowhere", **data},
        "split": {"validation_patients": 1, "test_patients": 1},
        "training": {"epochs": 1},
    }
    return Workspace(out=out, config=parse_config(document, source="test"))


def nifti(out: Path, channels: Any) -> Workspace:
    return workspace(out, format="nifti", nifti={"channels": channels})


def test_other_names_alone_are_kept(tmp_path: Path) -> None:
    note_channels(nifti(tmp_path, PATTERNS))
    note_channels(nifti(tmp_path, PATTERNS))
    require_same_channels(nifti(tmp_path, {"T1w": "*_t1.nii", "FLAIR": "*_flair.nii", "T1c": "*_t1ce.nii"}))
    require_same_channels(nifti(tmp_path, list(PATTERNS.values())))


@pytest.mark.parametrize(
    "channels",
    [
        {"flair": "*_flair.nii", "t1": "*_t1.nii", "t1ce": "*_t1ce.nii"},
        {"t1": "*_flair.nii", "flair": "*_t1.nii", "t1ce": "*_t1ce.nii"},
        {"t1": "*_t1.nii", "flair": "*_t2.nii", "t1ce": "*_t1ce.nii"},
    ],
)
def test_the_same_files_in_other_roles_are_refused(tmp_path: Path, channels: dict[str, str]) -> None:
    note_channels(nifti(tmp_path, PATTERNS))
    for check in (note_channels, require_same_channels):
        with pytest.raises(UserError, match=r"channels\.json: the training began with channels 1 t1, 2 flair"):
            check(nifti(tmp_path, channels))


def test_swapped_names_are_refused(tmp_path: Path) -> None:
    note_channels(workspace(tmp_path))
    require_same_channels(workspace(tmp_path, channels=["T1", "FLAIR", "T1c"]))
    with pytest.raises(UserError, match="now they are 1 FLAIR, 2 pre-contrast"):
        require_same_channels(workspace(tmp_path, channels=["FLAIR", "pre-contrast", "post-contrast"]))


def test_a_folder_without_a_note_is_taken_as_it_is(tmp_path: Path) -> None:
    require_same_channels(workspace(tmp_path))
    assert not list(tmp_path.iterdir())
