import math

import numpy as np
import pytest
import surface_distance as deepmind
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_surface_dice
from scipy import ndimage
from scipy.spatial.distance import cdist

from wcr_med.metrics import surface_distances

# The two libraries that serve as oracles use names that others have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

MASKS = hnp.arrays(np.bool_, (3, 5, 4))
SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (0.5, 2.0, 3.0)]


def surface_corners(mask):
    """The definition, corner by corner: of the 2 x 2 x 2 voxels around it some are inside and some are not."""
    padded = np.pad(mask, 1)
    around = [padded[tuple(slice(c, c + 2) for c in corner)] for corner in np.ndindex(*(n + 1 for n in mask.shape))]
    corners = np.array(list(np.ndindex(*(n + 1 for n in mask.shape))))
    return corners[[block.any() and not block.all() for block in around]]


def blobs(seed, shape=(10, 24, 24)):
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), (1, 2, 2)) for _ in range(2)]
    shared = ndimage.gaussian_filter(rng.standard_normal(shape), (1, 2, 2))
    return [shared + 0.5 * field > 0.05 for field in fields]


def random_masks(seed, density):
    rng = np.random.default_rng(seed)
    return [rng.random((5, 9, 8)) < density for _ in range(2)]


def of_the_authors(reference, prediction, spacing, tolerance=1.0):
    """HD95, ASSD and NSD by the authors' library; it keeps the two directed means apart, we take both together."""
    theirs = deepmind.compute_surface_distances(reference, prediction, spacing)
    areas = [theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()]
    return (
        deepmind.compute_robust_hausdorff(theirs, 95),
        np.average(deepmind.compute_average_surface_distance(theirs), weights=areas),
        deepmind.compute_surface_dice_at_tolerance(theirs, tolerance),
    )


def scores(reference, prediction, spacing, tolerance=1.0):
    found = surface_distances(reference, prediction, spacing=spacing)
    return found.hd95, found.assd, found.surface_dice(tolerance)


def ball(shape, centre, radius, spacing):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((axis - c) * step) ** 2 for axis, c, step in zip(grid, centre, spacing, strict=True)) <= radius**2


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_all_pairs_of_surface_elements(seed, spacing):
    for reference, prediction in (random_masks(seed, 0.02), random_masks(seed, 0.6)):
        pairs = cdist(surface_corners(reference) * spacing, surface_corners(prediction) * spacing)
        found = surface_distances(reference, prediction, spacing=spacing)
        np.testing.assert_allclose(np.sort(found.to_prediction), np.sort(pairs.min(axis=1)), atol=1e-12)
        np.testing.assert_allclose(np.sort(found.to_reference), np.sort(pairs.min(axis=0)), atol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_library_of_the_authors(seed, spacing):
    for reference, prediction in (blobs(seed), random_masks(seed, 0.02), random_masks(seed, 0.6)):
        expected = of_the_authors(reference, prediction, spacing)
        assert scores(reference, prediction, spacing) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_agrees_with_monai(spacing):
    reference, prediction = blobs(0)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference)]
    found = surface_distances(reference, prediction, spacing=spacing)
    for tolerance in (0.5, 1.0, 2.0):
        nsd = compute_surface_dice(
            *tensors, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        ).item()
        assert found.surface_dice(tolerance) == pytest.approx(nsd, rel=1e-5)


def test_thick_slices_weigh_by_their_area():
    # A count of voxels gives 0.245 and 2.91: the caps, which lie 5 mm off, have many voxels and little area.
    spacing, shape = (5.0, 1.0, 1.0), (13, 48, 48)
    reference = ball(shape, (6, 24, 24), 20.0, spacing)
    prediction = np.roll(reference, 1, axis=0)
    hd95, assd, nsd = scores(reference, prediction, spacing)
    assert (round(nsd, 3), round(assd, 2), hd95) == (0.556, 1.62, 5.0)
    assert (hd95, assd, nsd) == pytest.approx(of_the_authors(reference, prediction, spacing), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_objects_at_the_border_of_the_volume_are_closed_there(spacing):
    reference, prediction = np.zeros((4, 9, 9), bool), np.zeros((4, 9, 9), bool)
    reference[:2, :4, :4], prediction[:3, :5, :3] = True, True
    expected = of_the_authors(reference, prediction, spacing)
    assert scores(reference, prediction, spacing) == pytest.approx(expected, rel=1e-6)
    inside = scores(np.pad(reference, 3), np.pad(prediction, 3), spacing)
    assert scores(reference, prediction, spacing) == pytest.approx(inside)
    whole = np.ones((3, 4, 5), bool)
    assert scores(whole, whole, spacing) == (0, 0, 1)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_single_voxels(spacing):
    reference, prediction = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    reference[1, 1, 1], prediction[3, 4, 7] = True, True
    expected = of_the_authors(reference, prediction, spacing)
    assert scores(reference, prediction, spacing) == pytest.approx(expected, rel=1e-6)
    found = surface_distances(reference, prediction)
    # From each of the 8 corners to the nearest one of the other voxel: 1 or 2, 2 or 3 and 5 or 6 steps along the axes.
    steps = [math.hypot(a, b, c) for a in (1, 2) for b in (2, 3) for c in (5, 6)]
    np.testing.assert_allclose(np.sort(found.to_prediction), np.sort(steps))
    assert found.hausdorff(100) == pytest.approx(7)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.7), (3.0, 0.5)])
def test_a_volume_of_one_slice_is_a_plane_whatever_its_thickness(spacing):
    masks = [blob[5] for blob in blobs(1)]
    expected = of_the_authors(*masks, spacing)
    assert scores(*masks, spacing) == pytest.approx(expected, rel=1e-6)
    for thickness in (0.1, 1.0, 5.0):
        assert scores(masks[0][None], masks[1][None], (thickness, *spacing)) == scores(*masks, spacing)


def test_sampling_one_axis_more_finely_changes_little():
    coarse, fine = (2.0, 1.0, 1.0), (1.0, 1.0, 1.0)
    few = [ball((20, 40, 40), (10, centre, 20), 12.0, coarse) for centre in (18, 21)]
    many = [np.repeat(mask, 2, axis=0) for mask in few]
    for found, expected in zip(scores(*few, coarse, 2.0), scores(*many, fine, 2.0), strict=True):
        assert found == pytest.approx(expected, rel=0.12)


def test_parallel_plates():
    reference, prediction = np.zeros((9, 60, 60), bool), np.zeros((9, 60, 60), bool)
    reference[2], prediction[5] = True, True
    found = surface_distances(reference, prediction)
    assert found.hausdorff(100) == 3  # from the far face; the near one is 2 away
    assert found.assd == pytest.approx(2.5)
    assert [found.surface_dice(tolerance) for tolerance in (1.9, 3.0)] == [0, 1]
    assert found.surface_dice(2.0) == pytest.approx(0.5)


def test_hd95_is_the_larger_directed_percentile_not_that_of_both_together():
    # The reference lies on the prediction; a tenth of the prediction's contour lies 5 to 6 pixels away.
    reference, prediction = np.zeros((20, 200), bool), np.zeros((20, 200), bool)
    reference[2], prediction[2] = True, True
    prediction[8, :20] = True
    found = surface_distances(reference, prediction)
    areas = np.concatenate([found.reference_area, found.prediction_area])
    distances = np.concatenate([found.to_prediction, found.to_reference])
    assert areas[distances > 0].sum() / areas.sum() < 0.05  # of both together: the percentile would be 0
    assert found.hd95 == 5  # a tenth lies beyond 0, half of that at 6
    assert surface_distances(prediction, reference).hd95 == 5
    assert found.hausdorff(50) == 0
    assert found.hausdorff(100) == 6


def test_a_percentile_is_that_of_the_area_not_of_the_number_of_elements():
    # Slices 10 apart: a column one voxel wide has many elements, and its side walls nearly all of the area.
    reference, prediction = np.zeros((12, 8, 8), bool), np.zeros((12, 8, 8), bool)
    reference[1:11, 2:6, 2:6] = True
    prediction[1:11, 2:6, 2:5] = True
    spacing = (10.0, 1.0, 1.0)
    assert scores(reference, prediction, spacing) == pytest.approx(of_the_authors(reference, prediction, spacing))


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
    assert surface_distances(square[None], shifted[None]).hausdorff(100) == 2


def test_invalid_input_is_refused():
    mask = np.ones((2, 3, 3), bool)
    with pytest.raises(ValueError, match="shape"):
        surface_distances(mask, mask[:1])
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(mask, mask, spacing=(1, 1))
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(mask, mask, spacing=(1, 0, 1))
    with pytest.raises(ValueError, match="two or three axes"):
        surface_distances(mask[None], mask[None])
    with pytest.raises(ValueError, match="tolerance"):
        surface_distances(mask, mask).surface_dice(-1.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9)])
def test_both_ways_of_measuring_agree(monkeypatch, spacing):
    masks = blobs(3)
    few = surface_distances(*masks, spacing=spacing)
    monkeypatch.setattr("wcr_med.metrics.distances._MOST_POINTS", 0)
    many = surface_distances(*masks, spacing=spacing)
    np.testing.assert_allclose(few.to_prediction, many.to_prediction, atol=1e-12)
    np.testing.assert_allclose(few.to_reference, many.to_reference, atol=1e-12)


@pytest.mark.lgg
def test_agrees_with_the_authors_on_real_masks(lgg_root):
    from wcr_med.config import DataConfig
    from wcr_med.data.index import index_patients, load_volume

    for entry in index_patients(DataConfig(root=lgg_root))[:3]:
        reference = load_volume(entry).mask_SHW != 0
        prediction = np.roll(reference, (1, 7, -4), axis=(0, 1, 2))
        for spacing in ((1.0, 1.0, 1.0), (5.0, 0.9, 0.9)):
            expected = of_the_authors(reference, prediction, spacing)
            assert scores(reference, prediction, spacing) == pytest.approx(expected, rel=1e-6)
