import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from tests.report.analysis.made_up import Found, inputs_of, row, rows_of, shifted
from wcr_med.config import ReportConfig
from wcr_med.data.attributes import PatientAttributes
from wcr_med.errors import UserError
from wcr_med.evaluation.robustness import RobustnessPoint, RobustnessResult
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.analysis.definitions import OWN_DEFINITIONS, definitions
from wcr_med.report.analysis.schema import build_schema, load_schema
from wcr_med.report.clinical.inputs import Deployment, Latency, Leak
from wcr_med.report.document import LadderRow

DOCUMENT = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
DENSE = (*rows_of([Found(shift=shift) for shift in (0, 1, 0, 2, 1, 0)]), row("q", Found(shift=None), size=0))
PRUNED = (*rows_of([Found(shift=shift) for shift in (1, 1, None, 3, 0, 0)]), row("q", Found(false=True), size=0))


def attributes(**changes):
    known = {
        entry.patient_id: PatientAttributes(
            patient_id=entry.patient_id, institution="AA", clinical={"gender": str(place % 2)}
        )
        for place, entry in enumerate(DENSE)
    }
    return known | changes


def everything():
    """Inputs with every optional part."""
    inputs = inputs_of(DENSE, PRUNED, attributes=attributes())
    dice = {entry.patient_id: entry.dice for entry in DENSE}
    points = tuple(
        RobustnessPoint(network=network, disturbance=name, strength=strength, dice=dice)
        for network in ("dense", "pruned-90")
        for name, strength in (("none", 0.0), ("noise", 0.5))
    )
    deployment = Deployment(
        file="pruned-90.onnx",
        size_bytes=10,
        dense_bytes=100,
        logit_difference=1e-5,
        dice_difference=0.0,
        n_slices=3,
        latency=(Latency(threads=1, p50_ms=1.0, p95_ms=2.0, n_runs=30),),
    )
    return replace(
        inputs,
        robustness=RobustnessResult(points=points, units={"noise": "spreads"}, seed=0),
        ladder=(LadderRow.from_result(inputs.dense.result, sparsity=0.0),),
        leak=Leak(averages={"dice_patient": 1.0}, honest={"dice_patient": 0.9}, n_slices_test=5, n_patients_shared=2),
        networks=(inputs.networks[0], replace(inputs.networks[1], deployment=(deployment,))),
    )


def check(inputs):
    """The analysis, after its JSON was held against the shipped schema."""
    analysis = analyse(inputs)
    document = json.loads(json.dumps(analysis.to_dict(), allow_nan=False))
    jsonschema.Draft202012Validator(load_schema()).validate(document)
    return analysis


def test_the_shipped_schema_is_that_of_the_records():
    jsonschema.Draft202012Validator.check_schema(load_schema())
    assert load_schema() == build_schema()


def test_the_schema_refuses_what_does_not_belong():
    document = analyse(everything()).to_dict()
    validator = jsonschema.Draft202012Validator(load_schema())
    for change in ({"unknown": 1}, {"schema_version": 0}, {"n_patients": "7"}, {"networks": [{}]}):
        assert not validator.is_valid(json.loads(json.dumps(document | change)))
    assert not validator.is_valid({name: value for name, value in document.items() if name != "notices"})


def test_a_whole_analysis():
    analysis = check(everything())
    assert analysis.n_patients == 7
    assert (analysis.dense.name, analysis.pruned.name, analysis.verdict.network) == ("dense", "pruned-90", "pruned-90")
    dense, pruned = ([entry.dice for entry in rows] for rows in (DENSE, PRUNED))
    assert analysis.dense.scores["dice_patient"].value == pytest.approx(np.nanmean(dense))
    assert analysis.pruned.scores["dice_patient"].value == pytest.approx(np.mean(pruned))
    expected = (np.sum(pruned) - np.nansum(dense) - 1) / 7  # the right "nothing" of q counts as 1
    assert analysis.verdict.paired.mean_difference == pytest.approx(expected)
    assert analysis.verdict.metric("dice").difference.value == pytest.approx(expected)
    assert analysis.verdict.metric("dice").difference.low == analysis.verdict.paired.interval.low
    assert analysis.verdict.metric("f1_pooled").dense == pytest.approx(analysis.dense.scores["f1_pooled"].value)
    assert analysis.verdict.metric("lesion_f1").pruned == analysis.pruned.lesions.f1.value
    assert analysis.pruned.lesions.f1.value == pytest.approx(analysis.pruned.scores["detection_f1_pooled"].value)
    assert analysis.verdict.metric("brier").dense == analysis.dense.calibration.brier.value
    assert analysis.verdict.pairs[0].patient_id == "p02"
    assert [flip.patient_id for flip in analysis.verdict.flips][:2] == ["p02", "q"]
    assert {entry.attribute for entry in analysis.verdict.attributes} >= {"gender", "institution", "tumour size"}
    assert len(analysis.verdict.lesions) == 6
    assert [curve.network for curve in analysis.robustness] == ["dense", "pruned-90"]
    assert analysis.deployment["pruned-90"][0].latency[0].p50_ms == 1.0
    assert analysis.dense.partitions[0].dice_patient.value == pytest.approx(np.nanmean(dense))
    assert "19 metrics" in analysis.statistics.multiplicity
    with pytest.raises(KeyError):
        analysis.comparison("pruned-10")


def test_every_metric_agrees_with_the_table_of_scores():
    analysis = analyse(inputs_of(DENSE, PRUNED))
    names = {name: f"mean_{name}" for name in ("iou", "precision", "recall", "specificity", "relative_volume_error")}
    names |= {
        "hd95_px": "mean_hd95_px",
        "assd_px": "mean_assd_px",
        "nsd_1px": "mean_nsd_1px",
        "nsd_2px": "mean_nsd_2px",
    }
    names |= {"dice": "dice_patient", "dice_slice_tumour": "dice_slice_tumour", "brier": "brier_in_question"}
    names |= {name: name for name in ("f1_pooled", "false_positive_rate_free_slices")}
    for name, average in names.items():
        metric = analysis.verdict.metric(name)
        assert metric.dense == pytest.approx(analysis.dense.scores[average].value), name
        assert metric.pruned == pytest.approx(analysis.pruned.scores[average].value), name


def test_dense_against_itself():
    analysis = check(inputs_of(DENSE, DENSE))
    assert analysis.verdict.verdict.status == "too few"
    many = shifted(*[0, 1, 2, 3] * 10)
    assert check(inputs_of(many, many)).verdict.verdict.status == "non-inferior"
    assert all(metric.difference.value == 0 for metric in analysis.verdict.metrics)
    assert analysis.verdict.flips == ()
    assert analysis.verdict.harmed == ()


def test_the_order_of_patients_does_not_matter():
    turned = analyse(inputs_of(DENSE, tuple(reversed(PRUNED)))).to_dict()
    straight = analyse(inputs_of(DENSE, PRUNED)).to_dict()
    assert turned["comparisons"] == straight["comparisons"]


def test_the_same_inputs_give_the_same_numbers():
    assert analyse(everything()).to_dict() == analyse(everything()).to_dict()


def test_one_patient():
    analysis = check(inputs_of(DENSE[:1], PRUNED[:1]))
    assert analysis.verdict.paired.interval is None
    assert analysis.verdict.verdict.status == "too few"
    assert "one test patient" in analysis.notices_of("summary")[0]
    assert all(entry.harm is None and entry.note for entry in analysis.verdict.attributes)


def test_no_tumour_anywhere():
    rows = [row(name, Found(shift=None), size=0) for name in "abc"]
    analysis = check(inputs_of(rows, rows))
    assert "No reference mask holds a tumour" in analysis.notices_of("performance")[0]
    assert "sensitivity" in analysis.notices_of("lesions")[0]
    assert analysis.dense.calibration is None
    assert len(analysis.notices_of("calibration")) == 2
    assert analysis.verdict.paired.n_patients == 0


def test_a_network_that_predicts_nothing():
    analysis = check(inputs_of(DENSE[:6], shifted(*[None] * 6)))
    assert any("90 % sparsity) predicts nothing in any patient" in line for line in analysis.notices_of("performance"))
    assert analysis.pruned.cases.n_missed == 6
    assert analysis.pruned.lesions.precision.value == 0


def test_a_dense_network_that_finds_nothing_is_no_yardstick():
    nothing = shifted(*[None] * 6)
    analysis = check(inputs_of(nothing, nothing))
    assert any("finds no tumour at all" in line for line in analysis.notices_of("summary"))
    assert not any("finds no tumour" in line for line in analyse(inputs_of(DENSE, PRUNED)).notices_of("summary"))


def test_what_is_not_there_is_said():
    analysis = check(inputs_of(DENSE, PRUNED))
    for section, text in (
        ("subgroups", "data.csv"),
        ("volume", "not known"),
        ("robustness", "not measured"),
        ("deployment", "No exported file"),
        ("pruning", "not scored"),
        ("summary", "only 7 test patients"),
    ):
        settings = ReportConfig(permutations=20, min_subgroup=10)
        notices = analyse(inputs_of(DENSE, PRUNED, settings=settings)).notices_of(section)
        assert any(text in message for message in notices), section
    assert analysis.robustness == ()


def test_a_column_that_does_not_exist_is_named():
    settings = ReportConfig(permutations=20, subgroup_columns=("gendre",))
    analysis = analyse(inputs_of(DENSE, PRUNED, attributes=attributes(), settings=settings))
    assert "asks for gendre" in analysis.notices_of("subgroups")[0]
    assert "gender" in analysis.notices_of("subgroups")[0]


def test_refused():
    def refuses(message, inputs):
        with pytest.raises(UserError, match=message):
            analyse(inputs)

    good = inputs_of(DENSE, PRUNED)
    refuses("no pruned network pruned-50 beside a dense one", replace(good, primary="pruned-50"))
    empty = replace(good.dense.result, rows=())
    refuses("dense: no test patients", replace(good, networks=(replace(good.dense, result=empty), good.networks[1])))
    refuses("patient q was not scored for pruned-90", inputs_of(DENSE, PRUNED[:-1]))
    refuses("patient p00 stands twice", inputs_of((*DENSE, DENSE[0]), PRUNED))
    other = (row("p00", Found(), size=5), *PRUNED[1:])
    refuses("patient p00: the reference of pruned-90 is not that of dense", inputs_of(DENSE, other))
    refuses("patient p00 was scored but is not in the data set", replace(good, attributes={}))
    known = {name: entry for name, entry in good.attributes.items() if name != "t"}
    refuses("patient t of hold-out is not in the data set", replace(good, attributes=known))
    partition = good.partitions[0]
    fewer = replace(partition, parts={**partition.parts, "test": partition.parts["test"][1:]})
    refuses("patient p00 is scored but no test patient", replace(good, partitions=(fewer,)))
    more = replace(partition, parts={**partition.parts, "test": (*partition.parts["test"], "t")})
    refuses("patient t is a test patient but was not scored", replace(good, partitions=(more,)))
    refuses("test patient of two partitions", replace(good, partitions=(partition, partition)))
    short = (replace(PRUNED[0], threshold_tp=(1,), threshold_fp=(1,)), *PRUNED[1:])
    refuses("pruned-90, patient p00: 1 thresholds", inputs_of(DENSE, short))


def test_two_partitions_are_scored_by_themselves():
    good = inputs_of(DENSE, PRUNED)
    patients = good.partitions[0].parts["test"]
    folds = tuple(
        replace(
            good.partitions[0], name=name, parts={"train": ("t",), "validation": ("v",), "test": part}, thresholds={}
        )
        for name, part in (("fold 1 of 2", patients[:3]), ("fold 2 of 2", patients[3:]))
    )
    analysis = check(replace(good, partitions=folds, design="cross-validation"))
    first, second = analysis.dense.partitions
    assert (first.n_patients, second.n_patients, first.threshold) == (3, 4, 0.5)
    assert first.dice_patient.value == pytest.approx(np.mean([entry.dice for entry in DENSE[:3]]))
    assert len(analysis.demographics) == 7


def test_every_definition_is_documented():
    assert not [name for name in OWN_DEFINITIONS if f"`{name}`" not in DOCUMENT]
    assert set(OWN_DEFINITIONS) < set(definitions())
