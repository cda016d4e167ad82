"""NIfTI files by their names: a network takes its own sequences, not what merely has the right number of channels."""

from pathlib import Path

import pytest

from wcr_med.errors import UserError
from wcr_med.runtime import Found, find_sources
from wcr_med.runtime.wanted import wanted_files
from wcr_med.volumes.choice import choose_channels

BIDS = ("sub-01_FLAIR.nii.gz", "sub-01_T1w.nii.gz", "sub-01_label-lesion_mask.nii.gz")


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def find(
    *inputs: Path, names: tuple[str, ...] | None = ("flair",), files=("*_flair.nii.gz",), which=(), n=None
) -> Found:
    channels = choose_channels(names, n or len(names or ()), which)
    return find_sources(inputs, channel_files=files, channels=channels)


def shown(found: Found) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(source.name, tuple(path.name for path in source.files), source.left_out) for source in found.sources]


def test_flair_alone_is_taken_from_a_bids_folder(tmp_path: Path) -> None:
    folder = touch(tmp_path / "sub-01" / "anat", *BIDS)
    expected = [("anat", ("sub-01_FLAIR.nii.gz",), (BIDS[2], BIDS[1]))]
    assert [(name, files, tuple(sorted(rest))) for name, files, rest in shown(find(folder))] == [
        (name, files, tuple(sorted(rest))) for name, files, rest in expected
    ]
    assert not find(folder).failures
    tree = find(tmp_path)
    assert [source.files[0].name for source in tree.sources] == ["sub-01_FLAIR.nii.gz"]


def test_a_quoted_pattern_takes_it_alone_too(tmp_path: Path) -> None:
    touch(tmp_path / "sub-01" / "anat", *BIDS)
    found = find(tmp_path / "*" / "anat" / "*.nii.gz")
    assert [source.files[0].name for source in found.sources] == ["sub-01_FLAIR.nii.gz"]


@pytest.mark.parametrize("files", [("*_flair.nii.gz",), None])
def test_without_it_nothing_is_taken(tmp_path: Path, files: tuple[str, ...] | None) -> None:
    folder = touch(tmp_path / "anat", *BIDS[1:])
    for given in (folder, tmp_path, tmp_path / "*" / "*.nii.gz"):
        found = find(given, files=files)
        assert not found.sources
        (failure,) = found.failures
        assert "no file matches *_flair.nii.gz (flair)" in failure.message
        assert "sub-01_T1w.nii.gz" in failure.message
        assert "--channel flair=FILE" in failure.message


def test_the_user_names_the_file(tmp_path: Path) -> None:
    folder = touch(tmp_path / "anat", *BIDS, "scan7.nii.gz")
    for selector in ("scan7.nii.gz", "scan7", "SCAN*"):
        assert shown(find(folder, which=[f"flair={selector}"]))[0][1] == ("scan7.nii.gz",)


def test_a_file_given_by_name_is_taken_with_a_doubt_where_its_name_says_another_sequence(tmp_path: Path) -> None:
    folder = touch(tmp_path, *BIDS, "scan.nii.gz")
    (flair,) = find(folder / BIDS[0]).sources
    (other,) = find(folder / BIDS[1]).sources
    (plain,) = find(folder / "scan.nii.gz").sources
    assert (flair.doubt, plain.doubt) == ("", "")
    assert other.doubt == "the name sub-01_T1w.nii.gz says T1, the network takes flair"


NAMES = ("pre-contrast", "FLAIR", "post-contrast")
THREE = ("sub-post1_T1w.nii.gz", "sub-post1_FLAIR.nii.gz", "sub-post1_ce-gadolinium_T1w.nii.gz")


@pytest.mark.parametrize("files", [None, ("*_t1.nii.gz", "*_flair.nii.gz", "*_t1ce.nii.gz")])
def test_three_sequences_by_what_their_names_say(tmp_path: Path, files: tuple[str, ...] | None) -> None:
    folder = touch(tmp_path / "p", *THREE, "sub-1_mask.nii.gz", "sub-1_T2w.nii.gz")
    ((_, taken, left_out),) = shown(find(folder, names=NAMES, files=files))
    assert taken == THREE
    assert set(left_out) == {"sub-1_mask.nii.gz", "sub-1_T2w.nii.gz"}


@pytest.mark.parametrize(
    "names", [("p_t1.nii.gz", "p_flair.nii.gz", "p_t1ce.nii.gz"), ("p_T1.nii", "p_FLAIR.nii", "p_T1C.nii")]
)
def test_three_sequences_of_other_habits(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = touch(tmp_path / "p", *names)
    ((_, taken, _),) = shown(find(folder, names=NAMES, files=None))
    assert taken == names


def test_words_that_all_files_share_say_nothing(tmp_path: Path) -> None:
    files = ("FLAIR_study_post_T1.nii.gz", "FLAIR_study_post_FLAIR2D.nii.gz", "FLAIR_study_post_T1_gd.nii.gz")
    folder = touch(tmp_path / "p", *files)
    ((_, taken, _),) = shown(find(folder, names=NAMES, files=None))
    assert taken == files


def test_a_sequence_twice_is_asked_for(tmp_path: Path) -> None:
    folder = touch(tmp_path / "p", *THREE, "sub-1_run-2_FLAIR.nii.gz")
    (failure,) = find(folder, names=NAMES, files=None).failures
    assert "2 files match" in failure.message
    assert "--channel NAME=FILE" in failure.message
    which = ["FLAIR=*run-2*"]
    ((_, taken, _),) = shown(find(folder, names=NAMES, files=None, which=which))
    assert taken[1] == "sub-1_run-2_FLAIR.nii.gz"


def test_one_file_for_two_channels_is_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "p", *THREE)
    (failure,) = find(folder, names=NAMES, which=["FLAIR=*ce-*"], files=None).failures
    assert "one file would be two channels" in failure.message


@pytest.mark.parametrize("assignment", ["flair", "=3", "flair=", "T2=1", "4=1"])
def test_a_choice_that_is_none(assignment: str) -> None:
    with pytest.raises(UserError, match="--channel"):
        choose_channels(NAMES, 3, [assignment])


def test_a_channel_is_chosen_once() -> None:
    with pytest.raises(UserError, match="chosen twice"):
        choose_channels(NAMES, 3, ["FLAIR=1", "2=3"])
    assert choose_channels(NAMES, 3, ["flair=2"]).selectors == (None, "2", None)
    assert wanted_files(None, choose_channels(None, 1)).patterns == ("*_channel 1.nii.gz",)
