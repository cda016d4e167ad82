import math

import numpy as np
import pytest
from scipy import stats

from tests.report.analysis.made_up import PLANNED, Found, row, with_dice
from wcr_med.data.attributes import PatientAttributes
from wcr_med.report.analysis.demographics import demographics_of, partition_facts
from wcr_med.report.analysis.grouping import by_size, cut_in_thirds, groupings
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.analysis.subgroups import attribute_analyses
from wcr_med.report.clinical.inputs import Partition

SETTINGS = Settings(resamples=200, permutations=500, plan=PLANNED)


def attributes_of(rows, **columns):
    """One attribute a column; an empty text is a missing value."""
    return {
        entry.patient_id: PatientAttributes(
            patient_id=entry.patient_id,
            institution=entry.institution,
            clinical={name: codes[place] for name, codes in columns.items() if codes[place]},
        )
        for place, entry in enumerate(rows)
    }


def named(found):
    return {entry.attribute: entry for entry in found}


def test_thirds_by_value():
    groups, group_of = cut_in_thirds({name: float(place) for place, name in enumerate("abcdefghi")})
    assert groups == ("0 to 2", "3 to 5", "6 to 8")
    assert [group_of[name] for name in "acdfgi"] == ["0 to 2"] * 2 + ["3 to 5"] * 2 + ["6 to 8"] * 2
    assert cut_in_thirds({}) == ((), {})
    assert cut_in_thirds({"a": 5.0, "b": 5.0}, unit="ml")[0] == ("5 ml",)


def test_tumour_size_with_patients_without_a_tumour():
    rows = [row("n", Found(shift=None), size=0), *(row(f"p{size}", Found(), size=size) for size in range(1, 10))]
    grouping = by_size(rows)
    assert grouping.groups == ("8 to 24 voxels", "32 to 48 voxels", "56 to 72 voxels", "no tumour")
    assert grouping.group_of["n"] == "no tumour"
    known = by_size([row("a", Found(), size=2, spacing_mm=(5.0, 1.0, 1.0)), row("b", Found(), spacing_mm=(5.0, 1, 1))])
    assert known.groups[0] == "0.08 ml"


def test_columns_that_make_groups():
    rows = with_dice([0.9] * 12)
    attributes = attributes_of(
        rows,
        gender=["1", "2"] * 6,
        constant=["1"] * 12,
        age=[str(20 + place) for place in range(11)] + [""],
        name=[f"n{place}" for place in range(12)],
        grade=["10", "9", ""] * 4,
    )
    found = named(groupings(rows, attributes, columns=None))
    assert list(found) == ["institution", "tumour size", "missing sequence", "gender", "age", "grade"]
    assert found["grade"].groups == ("9", "10", "not stated")
    assert found["age"].groups == ("20 to 23", "24 to 26", "27 to 30", "not stated")
    assert found["age"].group_of["p011"] == "not stated"
    for grouping in found.values():
        assert set(grouping.group_of) == {entry.patient_id for entry in rows}
        assert set(grouping.group_of.values()) == set(grouping.groups)
    asked = named(groupings(rows, attributes, columns=("name", "absent")))
    assert len(asked["name"].groups) == 12
    assert "absent" not in asked


def test_missing_sequences_make_groups():
    rows = with_dice([0.9] * 3)
    attributes = attributes_of(rows)
    attributes["p001"] = PatientAttributes(patient_id="p001", institution="AA", missing_sequences=("FLAIR", "post"))
    found = named(groupings(rows, attributes, columns=()))
    assert found["missing sequence"].groups == ("FLAIR and post", "none missing")


def test_a_planted_harm_is_found_among_other_attributes():
    rng = np.random.default_rng(0)
    dense = rng.uniform(0.8, 0.95, 60)
    harmed = np.arange(60) % 4 == 0
    pruned = dense + rng.normal(-0.005, 0.02, 60) - np.where(harmed, 0.06, 0)
    rows = with_dice(dense)
    columns = {f"c{number}": rng.choice(["1", "2", "3"], 60).tolist() for number in range(6)}
    columns["planted"] = ["x" if bad else "y" for bad in harmed]
    groups = groupings(rows, attributes_of(rows, **columns), columns=None)
    found = named(attribute_analyses(rows, with_dice(pruned), groups, SETTINGS))
    assert [name for name, entry in found.items() if entry.harm and entry.harm.harmed] == ["planted"]
    planted = found["planted"]
    assert planted.harm.worst_group == "x"
    assert planted.harm.excess_loss == pytest.approx(0.06, abs=0.015)
    assert planted.harm.p_holm == pytest.approx(planted.harm.p * 7)
    x, y = planted.groups
    assert (x.group, x.n_patients, x.verdict, x.tested) == ("x", 15, "too few", True)
    assert (y.n_patients, y.verdict) == (45, "non-inferior")
    assert x.difference.value == pytest.approx((pruned - dense)[harmed].mean())
    assert x.dense.value == pytest.approx(dense[harmed].mean())
    assert x.difference.low < x.difference.value < x.difference.high


def test_verdicts_under_the_null_are_rarely_harm():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(40):
        dense = rng.uniform(0.7, 0.95, 40)
        rows = with_dice(dense)
        columns = {f"c{number}": rng.choice(["1", "2"], 40).tolist() for number in range(3)}
        settings = Settings(resamples=20, permutations=99)
        analyses = attribute_analyses(
            rows,
            with_dice(dense + rng.normal(-0.02, 0.03, 40)),
            groupings(rows, attributes_of(rows, **columns), columns=None),
            settings,
        )
        found.append(min(entry.harm.p_holm for entry in analyses if entry.harm))
    # At most one in twenty by construction; 6 of 40 or more has a chance of 2 %.
    assert np.count_nonzero(np.array(found) < 0.05) < 6
    assert stats.binom.sf(5, 40, 0.05) < 0.02


def test_small_groups_have_no_verdict_and_are_not_tested():
    rows = with_dice([0.9] * 52)
    codes = ["1"] * 40 + ["2"] * 9 + [""] * 3
    groups = groupings(rows, attributes_of(rows, gender=codes), columns=("gender",))
    found = named(attribute_analyses(rows, with_dice([0.5] * 52), groups, SETTINGS))
    verdicts = [(entry.group, entry.n_patients, entry.verdict, entry.tested) for entry in found["gender"].groups]
    assert verdicts == [("1", 40, "inferior", True), ("2", 9, "too few", False), ("not stated", 3, "too few", False)]
    assert found["gender"].harm.n_patients == 49
    assert found["institution"].harm is None
    assert "one group" in found["institution"].note


def test_pairs_without_a_difference_do_not_count_for_a_verdict():
    rows = with_dice([0.9] * 9 + [math.nan] * 3)
    (institution,) = attribute_analyses(rows, rows, groupings(rows, attributes_of(rows), columns=())[:1], SETTINGS)
    assert (institution.groups[0].n_patients, institution.groups[0].difference.n_patients) == (12, 9)
    assert institution.groups[0].verdict == "too few"


def test_demographics():
    rows = with_dice([0.9] * 12)
    attributes = attributes_of(
        rows, gender=["1", "2", ""] * 4, age=[str(20 + place) for place in range(12)], few=["1", "2"] * 6
    )
    partition = Partition(
        name="hold-out",
        parts={"train": ("p000", "p001", "p002"), "validation": (), "test": ("p011",)},
        split_hash="x",
        thresholds={"dense": 0.4},
    )
    everyone, train, validation, test = demographics_of(attributes, (partition,))
    assert (everyone.partition, everyone.n_patients, train.part, validation.n_patients) == ("all", 12, "train", 0)
    names = [entry.name for entry in everyone.characteristics]
    assert names == ["institution", "missing sequence", "gender", "age", "few"]
    assert all([entry.name for entry in part.characteristics] == names for part in (train, validation, test))
    gender, age = everyone.characteristics[2:4]
    assert (gender.counts, gender.n_missing) == ({"1": 4, "2": 4}, 4)
    assert (age.counts, age.median, age.low, age.high) == ({}, 25.5, 20, 31)
    assert (train.characteristics[3].median, train.characteristics[3].q1) == (21, 20.5)
    assert math.isnan(validation.characteristics[3].median)
    facts = partition_facts(partition)
    assert (facts.n_train, facts.n_test, facts.disjoint, facts.thresholds) == (3, 1, True, {"dense": 0.4})
    leaky = Partition(name="leaky", parts={"train": ("a",), "test": ("a",)}, split_hash="x")
    assert not partition_facts(leaky).disjoint
