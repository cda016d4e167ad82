import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.exported import small_volume
from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError
from wcr_med.evaluation import disturbances, robustness
from wcr_med.evaluation.robustness import (
    RobustnessPoint,
    RobustnessResult,
    measure_robustness,
    n_copies,
    pool_robustness,
)
from wcr_med.files import read_json, write_json

NAMES = tuple(disturbances.UNITS)


class Patients:
    """Made-up patients; notes what was read."""

    def __init__(self):
        made = [replace(small_volume(n_slices=3, seed=seed), patient_id=f"patient-{seed}") for seed in range(3)]
        self.volumes = {volume.patient_id: volume for volume in made}
        self.read = []

    @property
    def entries(self):
        return [PatientEntry(name, "CS", (), "kaggle_3m", Path(name)) for name in self.volumes]

    def load(self, entry):
        self.read.append(entry.patient_id)
        return self.volumes[entry.patient_id]


@pytest.fixture
def patients(monkeypatch):
    made = Patients()
    monkeypatch.setattr(robustness, "load_volume", made.load)
    return made


def corner(image_SHWC):
    """Probability one where the lesion of `small_volume` lies, in every slice."""
    probability = np.zeros(image_SHWC.shape[:3], np.float32)
    probability[:, 10:20, 10:20] = 0.6
    return probability


def bright(image_SHWC):
    """Depends on the image."""
    return (image_SHWC.mean(axis=3) / 255).astype(np.float32)


def points(result, **wanted):
    return [point for point in result.points if all(getattr(point, name) == value for name, value in wanted.items())]


def test_every_network_disturbance_and_strength(patients):
    result = measure_robustness({"dense": (corner, 0.5), "pruned-90": (bright, 0.5)}, patients.entries, seed=4)
    expected = [("none", 0.0)] + [(name, strength) for name in NAMES for strength in disturbances.STRENGTHS[name]]
    for network in ("dense", "pruned-90"):
        assert [(point.disturbance, point.strength) for point in points(result, network=network)] == expected
    assert [point.network for point in result.points] == ["dense"] * len(expected) + ["pruned-90"] * len(expected)
    assert all(list(point.dice) == list(patients.volumes) for point in result.points)
    assert result.units == disturbances.UNITS
    assert result.seed == 4
    assert patients.read == list(patients.volumes)  # once each
    steady = 2 * 200 / (200 + 300)  # two of three slices hold the lesion
    assert all(
        dice == pytest.approx(steady) for point in points(result, network="dense") for dice in point.dice.values()
    )
    none = points(result, network="pruned-90", disturbance="none")[0].dice
    assert all(point.dice != none for point in points(result, network="pruned-90", disturbance="noise"))


def test_all_networks_see_the_very_same_images(patients):
    seen = {"dense": [], "pruned-90": []}

    def watching(network):
        def predict(image_SHWC):
            seen[network].append(image_SHWC.copy())
            return bright(image_SHWC)

        return predict

    result = measure_robustness({name: (watching(name), 0.4) for name in seen}, patients.entries[:2], seed=1)
    assert len(seen["dense"]) == 2 * n_copies(NAMES, 3) == 2 * 16
    for one, other in zip(seen["dense"], seen["pruned-90"], strict=True):
        np.testing.assert_array_equal(one, other)
    first, second = points(result, network="dense"), points(result, network="pruned-90")
    assert [point.dice for point in first] == [point.dice for point in second]


def test_each_network_has_its_own_threshold(patients):
    result = measure_robustness({"dense": (corner, 0.6), "pruned-90": (corner, 0.7)}, patients.entries, names=["blur"])
    assert all(dice > 0 for point in points(result, network="dense") for dice in point.dice.values())
    assert all(dice == 0 for point in points(result, network="pruned-90") for dice in point.dice.values())


def test_a_patient_counts_alike_whoever_else_is_measured(patients):
    networks = {"dense": (bright, 0.5)}
    together = measure_robustness(networks, patients.entries, seed=2)
    alone = measure_robustness(networks, patients.entries[2:], names=["noise"], seed=2)
    name = patients.entries[2].patient_id
    for point in alone.points:
        (same,) = points(together, disturbance=point.disturbance, strength=point.strength)
        assert same.dice[name] == point.dice[name]


def test_a_missing_channel_is_the_mean_over_the_choices(patients):
    entry = patients.entries[0]
    image = patients.volumes[entry.patient_id].image_SHWC

    def answer(image_SHWC):  # finds the lesion only with the third channel
        return corner(image_SHWC) * np.array_equal(image_SHWC[..., 2], image[..., 2])

    result = measure_robustness({"dense": (answer, 0.5)}, [entry], names=["missing_channel"])
    assert [point.dice[entry.patient_id] for point in result.points] == pytest.approx([0.8, 0.4, 0])


def test_nothing_to_find_and_nothing_found_has_no_dice(patients):
    for volume in patients.volumes.values():
        volume.mask_SHW[:] = 0
    nothing = lambda image_SHWC: np.zeros(image_SHWC.shape[:3], np.float32)  # noqa: E731
    result = measure_robustness({"quiet": (nothing, 0.5), "loud": (corner, 0.5)}, patients.entries[:1])
    assert all(math.isnan(dice) for point in points(result, network="quiet") for dice in point.dice.values())
    assert all(dice == 0 for point in points(result, network="loud") for dice in point.dice.values())
    again = RobustnessResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again.to_dict() == result.to_dict()
    assert math.isnan(again.points[0].dice["patient-0"])


def test_an_interrupted_measurement_goes_on(patients, tmp_path):
    networks = {"dense": (bright, 0.5)}
    whole = measure_robustness(networks, patients.entries, names=["noise"])
    patients.read.clear()

    def failing(image_SHWC):
        if len(patients.read) == 3:
            raise KeyboardInterrupt
        return bright(image_SHWC)

    with pytest.raises(KeyboardInterrupt):
        measure_robustness({"dense": (failing, 0.5)}, patients.entries, names=["noise"], keep=tmp_path / "kept")
    patients.read.clear()
    again = measure_robustness(networks, patients.entries, names=["noise"], keep=tmp_path / "kept")
    assert patients.read == ["patient-2"]
    assert again == whole


@pytest.mark.parametrize("threshold", [0.0, 1.0, math.nan])
def test_a_threshold_is_a_probability(patients, threshold):
    with pytest.raises(UserError, match="dense: threshold"):
        measure_robustness({"dense": (corner, threshold)}, patients.entries)


def test_bad_input_is_refused(patients):
    with pytest.raises(UserError, match="no patients"):
        measure_robustness({"dense": (corner, 0.5)}, [])
    wrong = lambda image_SHWC: np.full(image_SHWC.shape[:3], math.nan, np.float32)  # noqa: E731
    with pytest.raises(UserError, match="network pruned-90, none 0: probabilities with NaN"):
        measure_robustness({"dense": (corner, 0.5), "pruned-90": (wrong, 0.5)}, patients.entries)
    with pytest.raises(UserError, match="missing_channel needs FLAIR"):
        measure_robustness({"dense": (corner, 0.5)}, patients.entries, flair_channel=None)
    object.__setattr__(patients.volumes["patient-1"], "mask_SHW", None)
    with pytest.raises(UserError, match="patient-1 has no reference"):
        measure_robustness({"dense": (corner, 0.5)}, patients.entries, names=["blur"])


def test_folds_are_pooled(patients):
    networks = {"dense": (bright, 0.5), "pruned-90": (corner, 0.5)}
    whole = measure_robustness(networks, patients.entries)
    parts = [measure_robustness(networks, part) for part in (patients.entries[:1], patients.entries[1:])]
    assert pool_robustness(parts) == whole
    assert pool_robustness([whole]) == whole


def test_results_that_do_not_fit_are_not_pooled(patients):
    one, two = patients.entries[:1], patients.entries[1:]
    first = measure_robustness({"dense": (corner, 0.5)}, one, names=["blur"])
    with pytest.raises(UserError, match="no results"):
        pool_robustness([])
    with pytest.raises(UserError, match="patient-0 was measured twice"):
        pool_robustness([first, first])
    for networks, names, seed in (("pruned-90", "blur", 0), ("dense", "noise", 0), ("dense", "blur", 1)):
        other = measure_robustness({networks: (corner, 0.5)}, two, names=[names], seed=seed)
        with pytest.raises(UserError, match=r"not measured alike|another seed"):
            pool_robustness([first, other])
    doubled = RobustnessResult(points=first.points * 2, units=first.units, seed=0)
    with pytest.raises(UserError, match="not measured alike"):
        pool_robustness([doubled])


def test_the_result_survives_its_file(tmp_path):
    result = RobustnessResult(
        points=(RobustnessPoint(network="dense", disturbance="noise", strength=0.1, dice={"a": 0.5, "b": math.nan}),),
        units={"noise": "in words"},
        seed=3,
    )
    write_json(tmp_path / "robustness.json", result.to_dict())
    again = RobustnessResult.from_dict(read_json(tmp_path / "robustness.json"))
    assert again.to_dict() == result.to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"points": [{"network": "dense"}]}, "missing, unknown or out of range"),
        ({"points": [{"network": "d", "disturbance": "n", "strength": 1, "dice": {"a": 1.5}}]}, r"Dice 1\.5"),
        ({"points": [{"network": "d", "disturbance": "n", "strength": 1, "dice": {}, "more": 1}]}, "more"),
    ],
)
def test_other_documents_are_refused(changes, message):
    document = {"schema_version": 1, "seed": 0, "units": {}, "points": []}
    with pytest.raises(UserError, match=rf"mine\.json.*{message}"):
        RobustnessResult.from_dict({**document, **changes}, source="mine.json")
    with pytest.raises(UserError, match="schema version None"):
        RobustnessResult.from_dict([1])
