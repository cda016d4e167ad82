"""Lesions by hand, in every empty case, and against components and Dice of other libraries."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from scipy import ndimage

from wcr_med.metrics import DetectionCounts, LesionRow, score_lesions


def volume(*boxes, shape=(6, 20, 20)):
    mask_SHW = np.zeros(shape, np.uint8)
    for slices, rows, columns in boxes:
        mask_SHW[slice(*slices), slice(*rows), slice(*columns)] = 1
    return mask_SHW


LARGE, SMALL = ((1, 4), (2, 6), (2, 6)), ((2, 4), (12, 15), (12, 15))  # 48 and 18 voxels
SPECK = ((0, 1), (18, 20), (0, 2))  # 4 voxels


def oracle(reference_SHW, prediction_SHW, min_voxels):
    """The definitions spelt out, voxel by voxel, with another library's components."""

    def components(mask_SHW):
        labels, n = ndimage.label(mask_SHW, structure=np.ones((3, 3, 3)))
        return [labels == k for k in range(1, n + 1) if (labels == k).sum() >= min_voxels]

    lesions, predicted = components(reference_SHW), components(prediction_SHW)
    found = []
    for lesion in lesions:
        touching = [other for other in predicted if (other & lesion).any()]
        union = np.any(touching, axis=0) if touching else np.zeros_like(lesion)
        tensors = [torch.from_numpy(mask)[None, None].float() for mask in (union, lesion)]
        dice = compute_dice(*tensors).item()
        found.append((int(lesion.sum()), int(lesion.any(axis=(1, 2)).sum()), bool(touching), round(dice, 5)))
    false = sum(not any((other & lesion).any() for lesion in lesions) for other in predicted)
    return sorted(found), len(predicted), false


def test_found_missed_and_made_up():
    reference = volume(LARGE, SMALL, SPECK)
    prediction = volume(((2, 5), (2, 6), (2, 6)), ((0, 3), (8, 12), (2, 6)))
    scores = score_lesions(reference, prediction, min_voxels=10)
    assert scores.lesions == (
        LesionRow(index=1, n_voxels=48, n_slices=3, detected=True, dice=2 * 32 / 96),
        LesionRow(index=2, n_voxels=18, n_slices=2, detected=False, dice=0.0),
    )
    assert (scores.n_predicted, scores.n_false) == (2, 1)
    assert scores.counts == DetectionCounts(detected=1, missed=1, false=1)
    assert (scores.counts.precision, scores.counts.recall, scores.counts.f1) == (0.5, 0.5, 0.5)


def test_one_voxel_is_enough_to_be_found():
    touching = volume(((3, 6), (5, 9), (5, 9)))
    scores = score_lesions(volume(LARGE), touching, min_voxels=10)
    assert scores.lesions[0].detected
    assert scores.lesions[0].dice == pytest.approx(2 / (48 + 48))
    assert scores.n_false == 0


def test_a_lesion_found_in_pieces_counts_once_and_all_pieces_make_its_dice():
    pieces = volume(((1, 4), (2, 6), (2, 3)), ((1, 4), (2, 6), (5, 6)))
    scores = score_lesions(volume(LARGE), pieces, min_voxels=10)
    assert scores.counts == DetectionCounts(detected=1, missed=0, false=0)
    assert scores.n_predicted == 2
    assert scores.lesions[0].dice == pytest.approx(2 * 24 / (48 + 24))


def test_a_prediction_that_joins_two_lesions_finds_both_and_costs_both():
    everything = np.ones((6, 20, 20), np.uint8)
    scores = score_lesions(volume(LARGE, SMALL), everything, min_voxels=10)
    assert [lesion.detected for lesion in scores.lesions] == [True, True]
    assert [lesion.dice for lesion in scores.lesions] == [96 / (48 + 2400), 36 / (18 + 2400)]


@pytest.mark.parametrize("direction", [(1, 1, 1), (1, 1, 0), (0, 1, -1), (1, 0, 0)])
def test_corners_and_edges_connect(direction):
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[2, 2, 2] = mask[tuple(np.add(2, direction))] = 1
    assert [lesion.n_voxels for lesion in score_lesions(mask, mask, min_voxels=1).lesions] == [2]
    apart = np.zeros((5, 5, 5), np.uint8)
    apart[0, 0, 0] = apart[2, 2, 2] = 1
    assert len(score_lesions(apart, apart, min_voxels=1).lesions) == 2


def test_small_components_count_neither_as_lesions_nor_as_false_alarms():
    assert score_lesions(volume(SPECK), volume(SPECK), min_voxels=5).counts == DetectionCounts(
        detected=0, missed=0, false=0
    )
    kept = score_lesions(volume(SPECK), volume(SPECK), min_voxels=4)
    assert kept.counts == DetectionCounts(detected=1, missed=0, false=0)
    # A speck of prediction inside a lesion does not find it.
    inside = volume(((1, 2), (2, 4), (2, 4)))
    assert score_lesions(volume(LARGE), inside, min_voxels=5).counts.missed == 1
    # What touches only a dropped speck of the reference is false.
    around = volume(((0, 1), (16, 20), (0, 4)))
    assert score_lesions(volume(SPECK), around, min_voxels=5).counts.false == 1


def test_nothing_there_and_nothing_found():
    counts = score_lesions(volume(), volume(), min_voxels=10).counts
    assert all(math.isnan(score) for score in (counts.precision, counts.recall, counts.f1))


def test_nothing_there_and_something_found():
    counts = score_lesions(volume(), volume(LARGE), min_voxels=10).counts
    assert (counts.precision, counts.f1, counts.false) == (0, 0, 1)
    assert math.isnan(counts.recall)


def test_something_there_and_nothing_found():
    scores = score_lesions(volume(LARGE), volume(), min_voxels=10)
    assert (scores.counts.precision, scores.counts.recall, scores.counts.f1) == (0, 0, 0)
    assert (scores.lesions[0].dice, scores.n_predicted) == (0, 0)


def test_f1_is_the_harmonic_mean_and_counts_add_up():
    counts = DetectionCounts(detected=3, missed=1, false=2)
    assert counts.f1 == pytest.approx(2 / (1 / counts.precision + 1 / counts.recall))
    assert counts + counts == DetectionCounts(detected=6, missed=2, false=4)


@pytest.mark.parametrize("min_voxels", [1, 4, 30])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_other_libraries_on_random_masks(seed, min_voxels):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(9, 24, 31)), 1.2)
    other = field + 0.7 * ndimage.gaussian_filter(rng.normal(size=field.shape), 1.2)
    reference, prediction = field > np.quantile(field, 0.9), other > np.quantile(other, 0.88)
    scores = score_lesions(reference, prediction, min_voxels=min_voxels)
    found = sorted((row.n_voxels, row.n_slices, row.detected, round(row.dice, 5)) for row in scores.lesions)
    assert (found, scores.n_predicted, scores.n_false) == oracle(reference, prediction, min_voxels)
    sizes = [row.n_voxels for row in scores.lesions]
    assert sizes == sorted(sizes, reverse=True)
    assert [row.index for row in scores.lesions] == list(range(1, len(sizes) + 1))


@pytest.mark.lgg
def test_agrees_with_other_libraries_on_real_masks(lgg_root):
    from wcr_med.config import DataConfig
    from wcr_med.data.index import index_patients, load_volume

    for entry in index_patients(DataConfig(root=lgg_root))[:4]:
        reference = load_volume(entry).mask_SHW
        prediction = np.roll(reference, (1, 9, -7), axis=(0, 1, 2))
        scores = score_lesions(reference, prediction, min_voxels=10)
        found = sorted((row.n_voxels, row.n_slices, row.detected, round(row.dice, 5)) for row in scores.lesions)
        assert (found, scores.n_predicted, scores.n_false) == oracle(reference, prediction, 10)


def test_bad_arguments():
    mask = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        score_lesions(mask, mask[:1], min_voxels=1)
    with pytest.raises(ValueError, match="threshold"):
        score_lesions(mask, mask.astype(np.float32), min_voxels=1)
    with pytest.raises(ValueError, match="min_voxels"):
        score_lesions(mask, mask, min_voxels=0)
