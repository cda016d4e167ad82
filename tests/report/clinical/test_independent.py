"""The figures of a report, computed again from stored masks, probabilities and reference images alone.

Nothing here uses the package's metrics, evaluation or analysis: numpy, scipy, pandas, PIL, nibabel and surface-distance
only. The results must be those of metrics.json, of per_patient.csv, and of the words of the page.
"""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import nibabel
import numpy as np
import pandas as pd
import pytest
import surface_distance
from PIL import Image
from scipy import ndimage, stats

NETWORKS = ("dense", "pruned-80", "pruned-90")
LABELS = {"dense": "dense", "pruned-80": "80 % sparsity", "pruned-90": "90 % sparsity"}
MIN_VOXELS, WORSE_BY = 4, 0.05
TOUCHING = np.ones((3, 3, 3))


class Tables(HTMLParser):
    """Tables by the beginning of their caption: rows of cells by the text of their first cell; and all words."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tables, self.words, self.rows, self.cells, self.where = [], [], None, None, []
        self.feed(text)
        self.reading = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.where.append(tag)
        if tag == "caption":
            self.rows, self.caption = [], []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "br" and self.rows and self.rows[-1]:
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag):
        while self.where and self.where.pop() != tag:  # void elements are never closed
            pass
        if tag == "table":
            self.tables.append((" ".join("".join(self.caption).split()), self.rows))
            self.rows = None

    def handle_data(self, data):
        if set(self.where) & {"style", "script", "title", "desc", "svg"}:
            return
        self.words.append(data)
        if "caption" in self.where:
            self.caption.append(data)
        elif self.rows and self.rows[-1] and set(self.where) & {"td", "th"}:
            self.rows[-1][-1] += data

    def table(self, caption):
        """Rows by their first cell, each a list of the others."""
        (rows,) = [rows for found, rows in self.tables if found.startswith(caption)]
        return {_plain(row[0]): [_plain(cell) for cell in row[1:]] for row in rows if row}


def _plain(text):
    return " ".join(text.replace("\u2212", "-").replace("\u00a0", " ").split())


def as_number(cell):
    """The number that a cell begins with; NaN where it says that there is none."""
    text = _plain(cell).replace(",", "")
    if text.startswith("not defined"):
        return np.nan
    return float(re.match(r"[+-]?[\d.]+", text)[0])


def same(shown, value, digits):
    """A number as the page rounds it."""
    return (np.isnan(shown) and np.isnan(value)) or abs(shown - value) <= 0.5 * 10**-digits + 1e-9


class Patient:
    """One patient under one network, from files alone."""

    def __init__(self, root, report, folder, patient_id, network):
        slices = {
            int(path.name.split("_")[-2]): path
            for place in root.glob(f"{patient_id}*")
            for path in place.glob("*_mask.tif")
        }
        self.reference = np.stack([np.asarray(Image.open(slices[number])) > 0 for number in sorted(slices)])
        stored = np.asarray(nibabel.load(report / "masks" / network / f"{patient_id}.nii.gz").dataobj)
        self.mask = stored.transpose(2, 1, 0) > 0
        with np.load(folder / "probabilities" / f"{patient_id}.npz") as file:
            (name,) = file.files
            self.probability = file[name] / 255.0
        assert self.reference.shape == self.mask.shape == self.probability.shape
        self.tp = int((self.reference & self.mask).sum())
        self.fp = int((~self.reference & self.mask).sum())
        self.fn = int((self.reference & ~self.mask).sum())
        self.tn = int((~self.reference & ~self.mask).sum())

    @property
    def volume(self):
        return self.tp + self.fn

    @property
    def predicted(self):
        return self.tp + self.fp

    @property
    def both_empty(self):
        return self.volume == 0 and self.predicted == 0

    @property
    def dice(self):
        return np.nan if self.both_empty else 2 * self.tp / (self.volume + self.predicted)

    @property
    def iou(self):
        return np.nan if self.both_empty else self.tp / (self.tp + self.fp + self.fn)

    @property
    def precision(self):
        if self.predicted == 0:
            return 0.0 if self.volume else np.nan
        return self.tp / self.predicted

    @property
    def recall(self):
        return self.tp / self.volume if self.volume else np.nan

    @property
    def hd95(self):
        """By the library of the authors of the normalised surface Dice."""
        if self.both_empty:
            return np.nan
        if self.volume == 0 or self.predicted == 0:
            return float(np.linalg.norm(self.reference.shape))
        found = surface_distance.compute_surface_distances(self.reference, self.mask, (1, 1, 1))
        return surface_distance.compute_robust_hausdorff(found, 95)

    @property
    def slice_dice(self):
        """Of every slice with tumour."""
        pairs = zip(self.reference, self.mask, strict=True)
        return [2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in pairs if one.any()]

    @property
    def free_slices(self):
        """(with a predicted voxel, all) of the slices without tumour."""
        free = ~self.reference.any(axis=(1, 2))
        return int((self.mask.any(axis=(1, 2)) & free).sum()), int(free.sum())

    @property
    def lesions(self):
        """(detected, of the reference, false, predicted)."""
        kept = []
        for mask in (self.reference, self.mask):
            labels, n = ndimage.label(mask, TOUCHING)
            parts = [labels == place for place in range(1, n + 1)]
            kept.append([part for part in parts if part.sum() >= MIN_VOXELS])
        ours, theirs = kept
        detected = sum(any((lesion & part).any() for part in theirs) for lesion in ours)
        false = sum(not any((lesion & part).any() for lesion in ours) for part in theirs)
        return detected, len(ours), false, len(theirs)

    @property
    def in_question(self):
        """(probability, reference) of the voxels in question."""
        asked = (self.probability >= 0.01) | self.reference
        return self.probability[asked], self.reference[asked]


def calibration(patients):
    """(expected calibration error, Brier score, excess) of all patients' voxels together."""
    probability, foreground = (
        np.concatenate(parts) for parts in zip(*(one.in_question for one in patients), strict=True)
    )
    edges = np.linspace(0, 1, 21)
    gaps = 0.0
    for low, high in pairwise(edges):
        inside = (probability >= low) & ((probability < high) | (high == 1))
        if inside.any():
            gaps += inside.sum() * abs(probability[inside].mean() - foreground[inside].mean())
    excess = probability.mean() - foreground.mean()
    return gaps / len(probability), float(((probability - foreground) ** 2).mean()), excess


def differences(dense, pruned):
    """Pruned minus dense Dice; beside a false alarm a right empty answer counts as 1; two right ones are left out."""
    found = {}
    for patient_id, before in dense.items():
        after = pruned[patient_id]
        if not (before.both_empty and after.both_empty):
            found[patient_id] = np.nan_to_num(after.dice, nan=1.0) - np.nan_to_num(before.dice, nan=1.0)
    return found


@pytest.fixture(scope="module")
def patients(made_up, made_up_root, written):
    """By network and patient id, from files alone; who is tested stands in per_patient.csv's own source, the split."""
    (partition,) = made_up.partitions
    return {
        network.name: {
            patient_id: Patient(made_up_root, written, network.folders[patient_id], patient_id, network.name)
            for patient_id in partition.parts["test"]
        }
        for network in made_up.networks
    }


@pytest.fixture(scope="module")
def document(written):
    return json.loads((written / "metrics.json").read_text())


@pytest.fixture(scope="module")
def csv(written):
    table = pd.read_csv(written / "per_patient.csv")
    return {name: part.set_index("patient_id") for name, part in table.groupby("network")}


@pytest.fixture(scope="module")
def page(written):
    return Tables((written / "report.html").read_text(encoding="utf-8"))


def network_of(document, name):
    return next(network for network in document["networks"] if network["name"] == name)


def comparison_of(document, name):
    return next(entry for entry in document["comparisons"] if entry["network"] == name)


def test_the_made_up_run_has_every_kind_of_patient(patients):
    """Otherwise the tests below would not see the cases that decide."""
    dense, pruned = patients["dense"], patients["pruned-90"]
    assert tuple(patients) == NETWORKS
    assert any(one.both_empty for one in dense.values())
    assert any(one.both_empty and not pruned[name].both_empty for name, one in dense.items())
    assert any(one.lesions[2] for one in pruned.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_patients_of_the_csv(patients, csv, name):
    table = csv[name]
    assert sorted(table.index) == sorted(patients[name])
    for patient_id, one in patients[name].items():
        row = table.loc[patient_id]
        assert (row.tp, row.fp, row.fn, row.tn) == (one.tp, one.fp, one.fn, one.tn)
        expected = {
            "dice": one.dice,
            "iou": one.iou,
            "precision": one.precision,
            "recall": one.recall,
            "hd95_px": one.hd95,
        }
        for score, value in expected.items():
            np.testing.assert_allclose(row[score], value, atol=1e-6, err_msg=f"{patient_id} {score}")
        detected, n_lesions, false, n_predicted = one.lesions
        assert (row.n_lesions_detected, row.n_lesions) == (detected, n_lesions)
        assert (row.n_false_lesions, row.n_predicted_lesions) == (false, n_predicted)
        assert (row.n_slices_false_alarm, row.n_slices - row.n_slices_tumour) == one.free_slices
        clear = abs(one.probability - row.threshold) > 0.51 / 255  # what rounding cannot have moved over the threshold
        assert np.array_equal((one.probability >= row.threshold)[clear], one.mask[clear])


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_of_a_network(patients, document, csv, page, name):
    found = list(patients[name].values())
    column, scores = NETWORKS.index(name), network_of(document, name)["scores"]
    dice = np.array([one.dice for one in found])
    slices = np.concatenate([one.slice_dice for one in found])
    alarms, free = np.sum([one.free_slices for one in found], axis=0)
    tp, fp, fn = (sum(getattr(one, count) for one in found) for count in ("tp", "fp", "fn"))
    expected = {
        ("dice_patient", "Dice per patient, mean (the headline)", 3): np.nanmean(dice),
        ("dice_patient_median", "Dice per patient, median", 3): np.nanmedian(dice),
        ("f1_pooled", "Dice of all voxels of all patients together (F1)", 3): 2 * tp / (2 * tp + fp + fn),
        ("dice_slice_tumour", "Dice of slices that hold tumour, mean", 3): slices.mean(),
        ("false_positive_rate_free_slices", "Share of slices without tumour with a false alarm", 3): alarms / free,
        ("mean_iou", "Intersection over union, mean", 3): np.nanmean([one.iou for one in found]),
        ("mean_precision", "Precision (share of predicted voxels that are lesion), mean", 3): np.nanmean(
            [one.precision for one in found]
        ),
        ("mean_recall", "Recall (share of lesion voxels that are found), mean", 3): np.nanmean(
            [one.recall for one in found]
        ),
        ("mean_hd95_px", "Distance of outlines, 95th percentile (HD95), mean", 1): np.nanmean(
            [one.hd95 for one in found]
        ),
    }
    rows = page.table("Scores on the test patients")
    for (score, label, digits), value in expected.items():
        assert scores[score]["value"] == pytest.approx(value), score
        assert same(as_number(rows[label][column]), value, digits), label
    assert scores["dice_patient"]["n_patients"] == np.count_nonzero(~np.isnan(dice))
    assert f"n {np.count_nonzero(~np.isnan(dice))})" in rows["Dice per patient, mean (the headline)"][column]
    table = csv[name]
    assert table.dice.mean() == pytest.approx(np.nanmean(dice), abs=1e-6)
    assert 2 * table.tp.sum() / (2 * table.tp + table.fp + table.fn).sum() == pytest.approx(
        scores["f1_pooled"]["value"]
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_interval_of_the_headline_draws_patients(patients, document, name):
    """By another bootstrap with another seed and many more draws: the stored ends lie within its noise."""
    dice = np.array([one.dice for one in patients[name].values()])
    score = network_of(document, name)["scores"]["dice_patient"]
    ours = stats.bootstrap(
        (dice[~np.isnan(dice)],), np.mean, n_resamples=5000, method=score["method"], rng=np.random.default_rng(99)
    ).confidence_interval
    width = ours.high - ours.low
    assert abs(score["low"] - ours.low) < 0.2 * width
    assert abs(score["high"] - ours.high) < 0.2 * width


@pytest.mark.parametrize("name", NETWORKS)
def test_lesions_of_a_network(patients, document, page, name):
    detected, n_lesions, false, n_predicted = np.sum([one.lesions for one in patients[name].values()], axis=0)
    lesions, column = network_of(document, name)["lesions"], NETWORKS.index(name)
    assert (lesions["n_detected"], lesions["n_reference"]) == (detected, n_lesions)
    assert (lesions["n_false"], lesions["n_predicted"]) == (false, n_predicted)
    expected = {
        "sensitivity": detected / n_lesions,
        "precision": detected / (detected + false),
        "f1": 2 * detected / (detected + n_lesions + false),
    }
    for score, value in expected.items():
        assert lesions[score]["value"] == pytest.approx(value)
    rows = page.table("Detection of lesions")
    assert rows["Lesions found, of all in the reference"][column] == f"{detected} of {n_lesions}"
    assert rows["Predicted components on no lesion, of all predicted"][column] == f"{false} of {n_predicted}"
    assert same(as_number(rows["Share of lesions found (sensitivity)"][column]), expected["sensitivity"], 3)
    assert same(as_number(rows["Detection F1, all lesions together"][column]), expected["f1"], 3)
    if name == document["primary"]:
        assert f"It found {detected} of {n_lesions} lesions" in _plain(page.reading)


@pytest.mark.parametrize("name", NETWORKS)
def test_cases_of_a_network(patients, document, page, name):
    found = list(patients[name].values())
    with_tumour = sum(one.volume > 0 for one in found)
    rows, column = page.table("What was found where there was nothing"), NETWORKS.index(name)
    cases = network_of(document, name)["cases"]
    not_found = sum(one.volume > 0 and one.tp == 0 for one in found)
    alarms = sum(one.volume == 0 and one.predicted > 0 for one in found)
    burden = sum(one.fp for one in found if one.volume == 0)
    assert (cases["n_not_found"], cases["n_false_alarm"], cases["false_positive_voxels"]) == (not_found, alarms, burden)
    assert cases["n_both_empty"] == sum(one.both_empty for one in found)
    assert rows["Patients with a tumour of which nothing was found"][column] == f"{not_found} of {with_tumour}"
    shown = rows["Patients without a tumour in whom something was predicted"][column]
    assert shown == f"{alarms} of {len(found) - with_tumour}"
    assert as_number(rows["False-positive volume in patients without a tumour"][column]) == burden


@pytest.mark.parametrize("name", NETWORKS)
def test_calibration_of_a_network(patients, document, csv, page, name):
    """Stored probabilities are rounded to 1 / 255: one voxel in a hundred moves over the edge of being in question."""
    ece, brier, excess = calibration(list(patients[name].values()))
    found, column = network_of(document, name)["calibration"], NETWORKS.index(name)
    assert found["ece"]["value"] == pytest.approx(ece, abs=5e-4)
    assert found["brier"]["value"] == pytest.approx(brier, rel=0.02)
    assert found["over_confidence"] == pytest.approx(excess, abs=5e-4)
    table = csv[name]
    assert found["brier"]["value"] == pytest.approx(
        np.average(table.brier, weights=table.n_voxels_in_question), rel=1e-3
    )
    assert found["n_voxels"] == table.n_voxels_in_question.sum()
    rows = page.table("Calibration on voxels in question")
    assert same(as_number(rows["Expected calibration error"][column]), found["ece"]["value"], 3)
    assert same(as_number(rows["Brier score"][column]), found["brier"]["value"], 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_volume_agreement_of_a_network(patients, document, csv, page, name):
    """In voxels, since TIFFs do not tell their spacing."""
    difference = np.array([one.predicted - one.volume for one in patients[name].values()])
    spread = difference.std(ddof=1)
    limits = [difference.mean() + sign * stats.norm.ppf(0.975) * spread for sign in (-1, 1)]
    found, column = network_of(document, name)["volume"], NETWORKS.index(name)
    assert found["unit"] == "voxels"
    assert found["bias"]["value"] == pytest.approx(difference.mean())
    assert [found["lower"]["value"], found["upper"]["value"]] == pytest.approx(limits)
    within = int(((difference >= limits[0]) & (difference <= limits[1])).sum())
    assert found["n_within"] == within
    assert (csv[name].fp - csv[name].fn).mean() == pytest.approx(difference.mean())
    rows = page.table("Volume agreement, voxels")
    assert same(as_number(rows["Bias (mean difference), voxels"][column]), difference.mean(), 0)
    assert same(as_number(rows["Lower limit of agreement, voxels"][column]), limits[0], 0)
    assert same(as_number(rows["Upper limit of agreement, voxels"][column]), limits[1], 0)
    assert rows["Patients between the limits"][column] == f"{within} of {len(difference)}"


@pytest.mark.parametrize("name", NETWORKS[1:])
def test_paired_differences(patients, document, page, name):
    dense, pruned = patients["dense"], patients[name]
    difference = np.array(list(differences(dense, pruned).values()))
    expected_p = stats.wilcoxon(difference).pvalue
    entry = comparison_of(document, name)
    paired, metric = entry["paired"], next(one for one in entry["metrics"] if one["name"] == "dice")
    for mean, p in ((paired["mean_difference"], paired["wilcoxon_p"]), (metric["difference"]["value"], metric["p"])):
        assert mean == pytest.approx(difference.mean())
        assert p == pytest.approx(expected_p)
    assert paired["n_patients"] == len(difference)
    assert paired["n_worse"] == np.count_nonzero(difference < -WORSE_BY)
    assert paired["n_better"] == np.count_nonzero(difference > WORSE_BY)
    assert paired["n_flipped"] == sum(dense[one].both_empty != pruned[one].both_empty for one in dense)
    ours = stats.bootstrap(
        (difference,), np.mean, n_resamples=5000, method=metric["difference"]["method"], rng=np.random.default_rng(99)
    ).confidence_interval
    width = ours.high - ours.low
    assert abs(paired["interval"]["low"] - ours.low) < 0.25 * width
    assert abs(paired["interval"]["high"] - ours.high) < 0.25 * width
    rows = page.table(f"Paired differences, {LABELS[name]} minus dense")
    (label,) = [label for label in rows if label.startswith("Dice ") and label.endswith("higher is better")][:1]
    dense_cell, pruned_cell, cell, p_cell = rows[label][:4]
    assert same(as_number(dense_cell), np.nanmean([one.dice for one in dense.values()]), 3)
    assert same(as_number(pruned_cell), np.nanmean([one.dice for one in pruned.values()]), 3)
    assert same(as_number(cell), difference.mean(), 3)
    assert cell.endswith(f"n {len(difference)})")
    assert same(as_number(p_cell.removeprefix("< ")), max(expected_p, 0.001), 3)


@pytest.mark.parametrize("name", NETWORKS[1:])
def test_paired_difference_of_pooled_figures(patients, document, page, name):
    def f1(found):
        tp, errors = sum(one.tp for one in found), sum(one.fp + one.fn for one in found)
        return 2 * tp / (2 * tp + errors)

    def lesion_f1(found):
        detected, n_lesions, false, _ = np.sum([one.lesions for one in found], axis=0)
        return 2 * detected / (detected + n_lesions + false)

    rows = page.table(f"Paired differences, {LABELS[name]} minus dense")
    metrics = {one["name"]: one for one in comparison_of(document, name)["metrics"]}
    for metric, label, figure in (
        ("f1_pooled", "F1, all voxels pooled higher is better", f1),
        ("lesion_f1", "Lesion F1 higher is better", lesion_f1),
    ):
        before, after = (figure(list(patients[network].values())) for network in ("dense", name))
        assert metrics[metric]["difference"]["value"] == pytest.approx(after - before)
        assert same(as_number(rows[label][2]), after - before, 3)


def test_first_screen(patients, document, page):
    primary = document["primary"]
    dense, pruned = patients["dense"], patients[primary]
    difference = np.array(list(differences(dense, pruned).values()))
    start = _plain(page.reading).split("Contents", 1)[0]
    assert f"{np.nanmean([one.dice for one in pruned.values()]):.3f} mean Dice per patient" in start
    assert f"{difference.mean():+.3f} in Dice" in start
    assert f"n {len(difference)}): dense {np.nanmean([one.dice for one in dense.values()]):.3f}" in start
    n_worse, n_better = np.count_nonzero(difference < -WORSE_BY), np.count_nonzero(difference > WORSE_BY)
    assert f"Worse by more than 0.05: {n_worse} patient{'' if n_worse == 1 else 's'}; better: {n_better}." in start


def test_subgroups(patients, made_up_root, document, page):
    """Institution from the name, laterality from data.csv, thirds of the reference's volume."""
    primary = document["primary"]
    dense, pruned = patients["dense"], patients[primary]
    difference = differences(dense, pruned)
    codes = pd.read_csv(made_up_root / "data.csv", dtype=str).set_index("Patient")
    volumes = {patient_id: one.volume for patient_id, one in dense.items() if one.volume}
    cuts = np.quantile(list(volumes.values()), [1 / 3, 2 / 3])
    group_of = {
        "institution": {patient_id: patient_id.split("_")[1] for patient_id in dense},
        "laterality": {patient_id: codes.laterality.get(patient_id) for patient_id in dense},
        "tumour size": {
            patient_id: int((cuts < volumes[patient_id]).sum()) if patient_id in volumes else "no tumour"
            for patient_id in dense
        },
    }
    attributes = {entry["attribute"]: entry for entry in comparison_of(document, primary)["attributes"]}
    rows = [row for caption, found in page.tables if caption.startswith("Dice by subgroup") for row in found]
    unjudged = page.table("Not judged: fewer than 4 patients")
    for attribute, groups in group_of.items():
        members = {}
        for patient_id, group in groups.items():
            members.setdefault(group, []).append(patient_id)
        found = {entry["group"]: entry for entry in attributes[attribute]["groups"]}
        if attribute == "tumour size":  # named by their range, in rising order
            thirds = [group for group in found if group != "no tumour"]
            found = {
                **dict(zip((0, 1, 2), (found[third] for third in thirds), strict=True)),
                "no tumour": found["no tumour"],
            }
        assert set(found) == {"not stated" if group is None else group for group in members}
        for group, patient_ids in members.items():
            entry = found["not stated" if group is None else group]
            assert entry["n_patients"] == len(patient_ids)
            inside = [difference[patient_id] for patient_id in patient_ids if patient_id in difference]
            mean = np.mean(inside) if inside else np.nan
            values = [
                np.nanmean(dice) if not np.isnan(dice).all() else np.nan
                for dice in (np.array([network[one].dice for one in patient_ids]) for network in (dense, pruned))
            ]
            for part, value in zip(("dense", "pruned", "difference"), [*values, mean], strict=True):
                stored = np.nan if entry[part]["value"] is None else entry[part]["value"]
                np.testing.assert_allclose(stored, value, err_msg=f"{attribute} {group} {part}")
            if len(inside) < 4:  # counted on one line of its attribute; from there to 40 it is shown without a verdict
                assert f"{entry['group']} ({len(patient_ids)})" in unjudged[attributes[attribute]["label"]][0]
                continue
            assert any(
                _plain(row[0]) == entry["group"]
                and row[1].strip() == str(len(patient_ids))
                and all(same(as_number(cell), v, 3) for cell, v in zip(row[2:5], [*values, mean], strict=True))
                for row in rows
                if len(row) == 6 and row[1].strip().isdigit()
            ), (attribute, group)


def test_excess_loss_of_the_group_that_lost_most(patients, document):
    entry = comparison_of(document, document["primary"])
    difference = differences(patients["dense"], patients[document["primary"]])
    harm = next(one["harm"] for one in entry["attributes"] if one["attribute"] == "institution")
    inside = [value for patient_id, value in difference.items() if patient_id.split("_")[1] == harm["worst_group"]]
    outside = [value for patient_id, value in difference.items() if patient_id.split("_")[1] != harm["worst_group"]]
    assert harm["excess_loss"] == pytest.approx(np.mean(outside) - np.mean(inside))
    assert harm["n_patients"] == len(difference)


def test_another_threshold(patients, document):
    """0.5 lies between 127 / 255 and 128 / 255, so that rounding moves no voxel over it."""
    for name, found in patients.items():
        dice = []
        for one in found.values():
            mask = one.probability >= 0.5
            total = one.reference.sum() + mask.sum()
            dice.append(2 * (one.reference & mask).sum() / total if total else np.nan)
        point = next(one for one in network_of(document, name)["threshold"]["points"] if one["threshold"] == 0.5)
        assert point["dice_patient"] == pytest.approx(np.nanmean(dice))
