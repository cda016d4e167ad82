import math

import numpy as np
import pytest
import surface_distance as deepmind
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage
from scipy.spatial.distance import cdist

from wcr_med.metrics import surface_distances

# The two libraries that serve as oracles use names that others have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

MASKS = hnp.arrays(np.bool_, (3, 5, 4))
SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (0.5, 2.0, 3.0)]


def surface_points(mask):
    """The definition, voxel by voxel: foreground with a face to the background or to the outside."""
    padded = np.pad(mask, 1)
    points = []
    for point in np.argwhere(mask):
        neighbours = [
            padded[tuple(point + 1 + step)] for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
        ]
        if not all(neighbours):
            points.append(point)
    return np.array(points)


def blobs(seed, shape=(10, 24, 24)):
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), (1, 2, 2)) for _ in range(2)]
    shared = ndimage.gaussian_filter(rng.standard_normal(shape), (1, 2, 2))
    return [shared + 0.5 * field > 0.05 for field in fields]


def random_masks(seed, density):
    rng = np.random.default_rng(seed)
    return [rng.random((5, 9, 8)) < density for _ in range(2)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_all_pairs_of_surface_voxels(seed, spacing):
    for reference, prediction in (blobs(seed), random_masks(seed, 0.02), random_masks(seed, 0.6)):
        pairs = cdist(surface_points(reference) * spacing, surface_points(prediction) * spacing)
        found = surface_distances(reference, prediction, spacing=spacing)
        np.testing.assert_allclose(np.sort(found.to_prediction), np.sort(pairs.min(axis=1)))
        np.testing.assert_allclose(np.sort(found.to_reference), np.sort(pairs.min(axis=0)))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed, spacing):
    reference, prediction = blobs(seed)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference)]
    found = surface_distances(reference, prediction, spacing=spacing)
    hd95 = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing).item()
    assd = compute_average_surface_distance(*tensors, include_background=True, symmetric=True, spacing=spacing).item()
    assert found.hd95 == pytest.approx(hd95, rel=1e-5)
    assert found.assd == pytest.approx(assd, rel=1e-5)
    for tolerance in (0.5, 1.0, 2.0):
        nsd = compute_surface_dice(*tensors, [tolerance], include_background=True, spacing=spacing).item()
        assert found.surface_dice(tolerance) == pytest.approx(nsd, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_close_to_the_surface_elements_of_a_second_library(seed):
    # That library puts its surface between voxels, so a distance may differ by the diagonal of one voxel, not by more.
    reference, prediction = blobs(seed)
    spacing = (1.0, 1.0, 1.0)
    theirs = deepmind.compute_surface_distances(reference, prediction, spacing)
    ours = surface_distances(reference, prediction, spacing=spacing)
    assert ours.hd95 == pytest.approx(deepmind.compute_robust_hausdorff(theirs, 95), abs=math.sqrt(3))
    assert ours.assd == pytest.approx(np.mean(deepmind.compute_average_surface_distance(theirs)), abs=0.5)
    assert ours.surface_dice(2.0) == pytest.approx(deepmind.compute_surface_dice_at_tolerance(theirs, 2.0), abs=0.1)


def test_two_voxels_are_their_offset_apart():
    reference, prediction = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    reference[1, 1, 1], prediction[3, 4, 7] = True, True
    found = surface_distances(reference, prediction, spacing=(2.0, 1.0, 0.5))
    distance = math.sqrt(4**2 + 3**2 + 3**2)
    assert found.hd95 == pytest.approx(distance)
    assert found.assd == pytest.approx(distance)
    assert found.surface_dice(distance + 1e-9) == 1
    assert found.surface_dice(distance - 1e-9) == 0


def test_parallel_plates():
    reference, prediction = np.zeros((9, 6, 6), bool), np.zeros((9, 6, 6), bool)
    reference[2], prediction[5] = True, True
    found = surface_distances(reference, prediction)
    assert (found.hd95, found.assd, found.hausdorff(100)) == (3, 3, 3)
    assert [found.surface_dice(tolerance) for tolerance in (2.0, 3.0)] == [0, 1]


def test_hd95_is_the_larger_directed_percentile_not_that_of_both_together():
    # 100 reference voxels lie on the prediction; 10 of the prediction's 110 lie 6 voxels away: its own percentile is 6,
    # the pooled one would be 0.
    reference, prediction = np.zeros((1, 20, 100), bool), np.zeros((1, 20, 100), bool)
    reference[0, 2], prediction[0, 2] = True, True
    prediction[0, 8, :10] = True
    found = surface_distances(reference, prediction)
    pooled = np.percentile(np.concatenate([found.to_prediction, found.to_reference]), 95)
    assert pooled == 0
    assert found.hd95 == 6
    assert found.hausdorff(50) == 0


def test_a_perfect_prediction():
    mask = blobs(0)[0]
    found = surface_distances(mask, mask)
    assert (found.hd95, found.assd, found.surface_dice(0.0)) == (0, 0, 1)


def test_both_empty_has_no_distance():
    empty = np.zeros((3, 4, 5), bool)
    found = surface_distances(empty, empty)
    assert all(math.isnan(value) for value in (found.hd95, found.assd, found.surface_dice(1.0)))


@pytest.mark.parametrize("missed", [True, False])
def test_a_miss_and_a_false_alarm_cost_the_diagonal(missed):
    lesion, empty = np.zeros((3, 4, 12), bool), np.zeros((3, 4, 12), bool)
    lesion[1, 2, 3] = True
    reference, prediction = (lesion, empty) if missed else (empty, lesion)
    found = surface_distances(reference, prediction)
    assert (found.hd95, found.assd, found.surface_dice(1.0)) == (13, 13, 0)
    assert surface_distances(reference, prediction, spacing=(2, 2, 2)).hd95 == 26


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS, st.floats(0, 3, allow_subnormal=False), st.floats(0.1, 9, allow_subnormal=False))
def test_symmetry_bounds_and_units(first, second, tolerance, scale):
    forth, back = surface_distances(first, second), surface_distances(second, first)
    assert forth.hd95 == pytest.approx(back.hd95, nan_ok=True)
    assert forth.assd == pytest.approx(back.assd, nan_ok=True)
    assert forth.surface_dice(tolerance) == pytest.approx(back.surface_dice(tolerance), nan_ok=True)
    scaled = surface_distances(first, second, spacing=(scale, scale, scale))
    assert scaled.hd95 == pytest.approx(scale * forth.hd95, nan_ok=True)
    assume(first.any() and second.any())
    assert 0 <= forth.assd <= forth.hausdorff(100) <= forth.diagonal
    assert forth.hd95 <= forth.hausdorff(100)
    assert 0 <= forth.surface_dice(tolerance) <= forth.surface_dice(tolerance + 1) <= 1


@settings(deadline=None, max_examples=30)
@given(MASKS, MASKS, st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)))
def test_empty_space_around_changes_nothing_but_the_diagonal(first, second, before):
    assume(first.any() and second.any())
    pad = [(size, 2) for size in before]
    plain, padded = surface_distances(first, second), surface_distances(np.pad(first, pad), np.pad(second, pad))
    assert padded.hd95 == plain.hd95
    assert padded.assd == pytest.approx(plain.assd)
    assert padded.diagonal > plain.diagonal


def test_a_slice_is_a_plane():
    square, shifted = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    square[3:7, 3:7], shifted[3:7, 5:9] = 1, 1
    assert surface_distances(square, shifted).hausdorff(100) == 2


def test_invalid_input_is_refused():
    mask = np.ones((2, 3, 3), bool)
    with pytest.raises(ValueError, match="shape"):
        surface_distances(mask, mask[:1])
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(mask, mask, spacing=(1, 1))
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(mask, mask, spacing=(1, 0, 1))
    with pytest.raises(ValueError, match="tolerance"):
        surface_distances(mask, mask).surface_dice(-1.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9)])
def test_both_ways_of_measuring_agree(monkeypatch, spacing):
    masks = blobs(3)
    few = surface_distances(*masks, spacing=spacing)
    monkeypatch.setattr("wcr_med.metrics.distances._MOST_POINTS", 0)
    many = surface_distances(*masks, spacing=spacing)
    np.testing.assert_allclose(few.to_prediction, many.to_prediction)
    np.testing.assert_allclose(few.to_reference, many.to_reference)


@pytest.mark.lgg
def test_agrees_with_deepmind_on_real_masks(lgg_root):
    from wcr_med.config import DataConfig
    from wcr_med.data.index import index_patients, load_volume

    for entry in index_patients(DataConfig(root=lgg_root))[:3]:
        reference = load_volume(entry).mask_SHW != 0
        prediction = np.roll(reference, (1, 7, -4), axis=(0, 1, 2))
        theirs = deepmind.compute_surface_distances(reference, prediction, (1, 1, 1))
        for tolerance in (1.0, 2.0):
            # They weigh surface elements by area, we count voxels; on a real lesion the two lie close together.
            expected = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance)
            assert surface_distances(reference, prediction).surface_dice(tolerance) == pytest.approx(expected, abs=0.1)
