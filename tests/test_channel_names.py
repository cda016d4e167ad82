import pytest

from wcr_med.channel_names import checked_names, flair_of, is_names, listed, names_of_patterns, numbered, same_order


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*_t1.nii.gz", "*_flair.nii.gz", "*_t1ce.nii.gz"], ["t1", "flair", "t1ce"]),
        (["BraTS_*_T1[!c].nii", "BraTS_*_FLAIR.nii"], ["T1", "FLAIR"]),
        (["*_0000.nii.gz", "*_0001.nii.gz"], ["0000", "0001"]),
        (["*_flair.nii.gz"], ["flair"]),
        (["*.nii.gz"], ["image"]),
    ],
)
def test_patterns_give_names(patterns: list[str], names: list[str]) -> None:
    assert names_of_patterns(patterns) == dict(zip(names, patterns, strict=True))


@pytest.mark.parametrize("patterns", [["*.nii", "*.nii.gz"], ["*_t1.nii", "*_T1.nii"], ["*_t1.nii", "*.nii"]])
def test_patterns_that_do_not_tell(patterns: list[str]) -> None:
    with pytest.raises(ValueError, match="write a name for each pattern"):
        names_of_patterns(patterns)


@pytest.mark.parametrize("names", [[], [""], [" T1"], ["T1", "t1"], ["a=b"], ["a\nb"], ["a" * 41], [1], ["a/b"]])
def test_names_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(ValueError, match="name"):
        checked_names(names)
    assert not is_names(names, len(names))


def test_names_for_a_reader() -> None:
    assert numbered(["T1", "T2"], 2) == ("T1", "T2")
    assert numbered(["T1"], 2) == numbered(None, 2) == ("channel 1", "channel 2")
    assert listed(["T1", "T2"]) == "1 T1, 2 T2"
    assert listed(None) == "not named in this file"


def test_flair_is_the_one_that_says_so() -> None:
    assert flair_of(["T1", "T2 FLAIR"]) == 1
    assert flair_of(["T1", "T2"]) is None
    assert flair_of(["flair", "FLAIR fat-sat"]) is None


def test_the_same_names_in_another_order() -> None:
    assert not same_order(["T1", "FLAIR"], ["flair", "t1"])
    assert same_order(["T1", "FLAIR"], ["t1", "flair"])
    assert same_order(["T1", "FLAIR"], ["T1w", "FLAIR"])
    assert same_order(None, ["T1"])
