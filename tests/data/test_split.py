import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.config import SplitConfig
from wcr_med.data.index import PatientEntry
from wcr_med.data.sites import sites
from wcr_med.data.split import Split, make_split
from wcr_med.errors import UserError

_LGG = {"DU": 45, "HT": 34, "CS": 16, "FG": 14, "EZ": 1}


def _entries(counts: dict[str, int]) -> list[PatientEntry]:
    return [
        PatientEntry(f"TCGA_{code}_{number:04d}", code, (), "kaggle_3m", Path(code))
        for code, count in counts.items()
        for number in range(count)
    ]


def _institutions(patient_ids: tuple[str, ...]) -> Counter[str]:
    return Counter(patient_id.split("_")[1] for patient_id in patient_ids)


def _split() -> Split:
    return Split(train=("b", "a"), validation=("c",), test=("d", "e"), seed=3)


@settings(deadline=None, max_examples=60)
@given(
    counts=st.dictionaries(st.sampled_from(["CS", "DU", "HT", "FG"]), st.integers(1, 15), min_size=1),
    validation=st.integers(1, 8),
    test=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_a_holdout_is_a_partition_of_the_wanted_sizes(
    counts: dict[str, int], validation: int, test: int, seed: int
) -> None:
    entries = _entries(counts)
    config = SplitConfig(seed=seed, validation_patients=validation, test_patients=test)
    if len(entries) <= validation + test:
        with pytest.raises(UserError, match="split\\."):
            make_split(entries, config)
        return
    split = make_split(entries, config)
    assert len(split.test) == test
    assert len(split.validation) == validation
    assert sorted((*split.train, *split.validation, *split.test)) == sorted(entry.patient_id for entry in entries)
    for code, count in _institutions(split.test).items():
        assert abs(count - counts[code] * test / len(entries)) < 1


def test_institutions_have_their_share_of_the_test_patients() -> None:
    split = make_split(_entries(_LGG), SplitConfig(validation_patients=15, test_patients=22))
    assert _institutions(split.test) >= Counter({"DU": 9, "HT": 6, "CS": 3, "FG": 2})
    assert _institutions(split.validation) >= Counter({"DU": 5, "HT": 4, "CS": 2, "FG": 1})
    assert split.method == "holdout"


def test_the_order_of_patients_does_not_matter_and_the_seed_does() -> None:
    entries = _entries(_LGG)
    config = SplitConfig(seed=4, validation_patients=10, test_patients=10)
    assert make_split(entries, config) == make_split(entries[::-1], config)
    assert make_split(entries, config).hash != make_split(entries, config.model_copy(update={"seed": 5})).hash


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("counts", [_LGG, {"CS": 3, "DU": 3, "HT": 3, "FG": 3}, {"CS": 5}, {"CS": 2, "DU": 7}])
def test_over_all_folds_each_patient_tests_once(counts: dict[str, int]) -> None:
    entries = _entries(counts)
    splits = [
        make_split(entries, SplitConfig(validation_patients=1, test_patients=1, folds=5, fold=fold))
        for fold in range(5)
    ]
    tested = [patient_id for split in splits for patient_id in split.test]
    assert sorted(tested) == sorted(entry.patient_id for entry in entries)
    assert all(split.test and split.train and len(split.validation) == 1 for split in splits)
    assert [split.method for split in splits] == [f"fold {number} of 5" for number in range(1, 6)]


def test_folds_are_stratified_by_institution() -> None:
    for fold in range(5):
        split = make_split(
            _entries(_LGG), SplitConfig(validation_patients=10, test_patients=1, folds=5, fold=fold, seed=2)
        )
        counts = _institutions(split.test)
        assert counts["DU"] == 9
        assert 6 <= counts["HT"] <= 7
        assert 3 <= counts["CS"] <= 4


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (SplitConfig(validation_patients=1, test_patients=6), "split.test_patients"),
        (SplitConfig(validation_patients=5, test_patients=1), "split.validation_patients"),
        (SplitConfig(validation_patients=1, test_patients=1, folds=7), "split.folds"),
        (SplitConfig(validation_patients=5, test_patients=1, folds=3), "split.validation_patients"),
    ],
)
def test_too_few_patients_name_the_field(config: SplitConfig, field: str) -> None:
    with pytest.raises(UserError, match=field):
        make_split(_entries({"CS": 6}), config)


def test_a_patient_twice_in_the_index_is_refused() -> None:
    with pytest.raises(UserError, match="TCGA_CS_0000 stands twice"):
        make_split(_entries({"CS": 3}) * 2, SplitConfig(validation_patients=1, test_patients=1))


def test_a_split_that_shares_a_patient_cannot_be_built() -> None:
    with pytest.raises(UserError, match="patient a stands twice"):
        Split(train=("a", "b"), validation=(), test=("a",), seed=0)


def test_the_hash_is_of_the_partition_alone_and_never_changes() -> None:
    split = _split()
    assert split.train == ("a", "b")
    assert len(split.hash) == 64
    assert split.hash == Split(train=("a", "b"), validation=("c",), test=("e", "d"), seed=9, method="x").hash
    assert split.hash != Split(train=("a", "b", "c"), validation=(), test=("d", "e"), seed=3).hash
    assert split.hash == "47578c27693d9df374ec7166c628a662791e4a6c3a2d81d670fcdf2dd2a5a2e4"


def test_saving_and_loading_gives_the_same_split(tmp_path: Path) -> None:
    _split().save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == _split()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": ["a"]}, "changed by hand"),
        ({"test": ["d", "a"]}, "patient a stands twice"),
        ({"validation": None}, "field validation"),
        ({"validation": [1]}, "field validation"),
        ({"seed": None}, "seed or method"),
        ({"method": 1}, "seed or method"),
        ({"hash": "0"}, "changed by hand"),
        ({"schema_version": 99}, "schema version 1"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, change: dict[str, object], named: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**_split().to_dict(), **change}))
    with pytest.raises(UserError, match=named):
        Split.load(path)


def test_a_file_that_is_no_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text("[]")
    with pytest.raises(UserError, match=str(path)):
        Split.load(path)
    with pytest.raises(UserError, match="no such file"):
        Split.load(tmp_path / "absent.json")


@settings(deadline=None, max_examples=60)
@given(
    counts=st.dictionaries(st.sampled_from(["CS", "DU", "HT", "FG", "EZ"]), st.integers(1, 9), min_size=2),
    least=st.integers(1, 8),
    validation=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_over_all_sites_each_patient_tests_once_and_no_institution_is_on_both_sides(
    counts: dict[str, int], least: int, validation: int, seed: int
) -> None:
    entries = _entries(counts)
    config = SplitConfig(seed=seed, validation_patients=validation, test_patients=1, institution_min=least)
    large = {code for code, count in counts.items() if count >= least}
    if len(large) + (len(large) < len(counts)) < 2:
        with pytest.raises(UserError, match="needs two sites"):
            sites(entries, config)
        return
    tested: list[str] = []
    for site in sites(entries, config):
        tested += site.patient_ids
        fold = config.model_copy(update={"leave_out": site.name})
        if len(entries) - len(site.patient_ids) <= validation:
            with pytest.raises(UserError, match=r"split\.validation_patients"):
                make_split(entries, fold)
            continue
        split = make_split(entries, fold)
        assert split == make_split(entries[::-1], fold)
        assert split.test == site.patient_ids
        assert len(split.validation) == validation
        assert sorted((*split.train, *split.validation, *split.test)) == sorted(entry.patient_id for entry in entries)
        assert not set(_institutions(split.test)) & set(_institutions((*split.train, *split.validation)))
    assert sorted(tested) == sorted(entry.patient_id for entry in entries)


def test_institutions_of_few_patients_are_left_out_together_and_it_is_said() -> None:
    entries = _entries({**_LGG, "AA": 2})
    config = SplitConfig(validation_patients=10, test_patients=1, leave_out="other")
    assert [(site.name, len(site.patient_ids)) for site in sites(entries, config)] == [
        ("CS", 16), ("DU", 45), ("FG", 14), ("HT", 34), ("other", 3),
    ]  # fmt: skip
    split = make_split(entries, config)
    assert split.method == "institutions AA and EZ left out"
    assert _institutions(split.test) == Counter({"AA": 2, "EZ": 1})
    assert make_split(entries, config.model_copy(update={"leave_out": "CS"})).method == "institution CS left out"


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        ("EZ", "belongs to the site other; set split.leave_out to other"),
        ("XX", "no such institution; there are CS, DU, FG, HT, other, or all"),
        ("all", "stands for every partition in turn"),
    ],
)
def test_an_institution_that_cannot_be_left_out_is_named(leave_out: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_split(_entries(_LGG), SplitConfig(validation_patients=10, test_patients=1, leave_out=leave_out))


def test_every_fold_in_turn_is_no_split() -> None:
    with pytest.raises(UserError, match="stands for every partition in turn"):
        make_split(_entries(_LGG), SplitConfig(validation_patients=10, test_patients=1, folds=5, fold=None))


@pytest.mark.parametrize(
    ("config", "hash_start"),
    [
        (SplitConfig(validation_patients=15, test_patients=22), "741d7add500ca554"),
        (SplitConfig(validation_patients=10, test_patients=14, folds=5, fold=3), "a88974c1b9529bde"),
    ],
)
def test_splits_stay_what_they_were(config: SplitConfig, hash_start: str) -> None:
    assert make_split(_entries(_LGG), config).hash.startswith(hash_start)
