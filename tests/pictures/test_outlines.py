"""Outlines agree with the masks that they are drawn of."""

import re

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy import ndimage
from skimage import measure

from wcr_med.pictures import outlines, small_parts, svg_path, svg_rings


def outline(mask: np.ndarray) -> str:
    return svg_path(outlines(mask))


def lines(path: str) -> list[np.ndarray]:
    """Each closed line of a path: N corners, x and y."""
    return [
        np.array([[float(number) for number in corner.split()] for corner in line.split("L")])
        for line in re.findall(r"M([^MZ]+)Z", path)
    ]


def area(line: np.ndarray) -> float:
    """Signed, after the shoelace formula."""
    x, y = line.T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def covered(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre an odd number of lines surrounds."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = np.zeros(len(centres), bool)
    for line in lines(path):
        inside ^= Polygon(np.vstack([line, line[:1]]), closed=True).contains_points(centres)
    return inside.reshape(shape)


def blob(seed: int, size: int = 48, level: float = 0.3) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 2.5)
    return (noise > level * noise.max()).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_outline_covers_the_pixels_of_the_mask_and_no_other(seed):
    mask = blob(seed)
    np.testing.assert_array_equal(covered(outline(mask), mask.shape), mask.astype(bool))


@pytest.mark.parametrize("seed", range(5))
def test_area_agrees_within_half_a_pixel_along_the_boundary(seed):
    mask = blob(seed)
    found = lines(outline(mask))
    length = sum(float(np.linalg.norm(np.roll(line, -1, axis=0) - line, axis=1).sum()) for line in found)
    assert abs(abs(sum(map(area, found))) - mask.sum()) <= 0.5 * length


def test_a_square_keeps_its_sides_and_loses_its_corners():
    mask = np.zeros((20, 20), np.uint8)
    mask[4:10, 6:16] = 1
    (line,) = lines(outline(mask))
    assert line.min(axis=0).tolist() == [6, 4]
    assert line.max(axis=0).tolist() == [16, 10]
    assert abs(area(line)) == pytest.approx(60 - 4 * 0.125)


def test_a_hole_is_a_line_of_its_own():
    mask = np.zeros((20, 20), np.uint8)
    mask[3:15, 3:15] = 1
    mask[7:10, 7:10] = 0
    found = lines(outline(mask))
    assert len(found) == 2
    assert abs(sum(map(area, found))) == pytest.approx(144 - 9 - 0.5 + 0.5)


def test_masks_at_the_border_are_closed():
    mask = np.ones((5, 7), np.uint8)
    (line,) = lines(outline(mask))
    assert abs(area(line)) == pytest.approx(35 - 0.5)


def test_a_single_pixel_keeps_its_place():
    mask = np.zeros((9, 9), np.uint8)
    mask[3, 5] = 1
    (line,) = lines(outline(mask))
    assert line.mean(axis=0).tolist() == [5.5, 3.5]
    assert abs(area(line)) == pytest.approx(0.5)


def test_nothing_has_no_outline():
    assert outline(np.zeros((8, 8), np.uint8)) == ""


def corners(found: list[np.ndarray]) -> list[list[tuple[float, float]]]:
    return sorted(sorted(map(tuple, line.tolist())) for line in found)


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_the_lines_are_those_of_marching_squares(seed, density):
    mask = np.random.default_rng(seed).random((23, 31)) < density
    theirs = measure.find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="high")
    expected = corners([line[:-1, ::-1] - 0.5 for line in theirs])
    assert corners(list(outlines(mask))) == expected


def test_simplifying_moves_no_line_further_than_it_may():
    for seed in range(3):
        whole = max(outlines(blob(seed)), key=len)
        (simple,) = lines(svg_path((whole,)))
        assert len(simple) < len(whole)
        ring = np.vstack([simple, simple[:1]])
        start, step = ring[:-1], np.diff(ring, axis=0)
        offset = whole[:, None] - start
        along = np.clip((offset * step).sum(axis=2) / (step**2).sum(axis=1), 0, 1)
        assert np.linalg.norm(offset - along[..., None] * step, axis=2).min(axis=1).max() <= 0.25 + 1e-9


def test_parts_too_small_to_be_seen_are_ringed():
    mask = np.zeros((40, 40), np.uint8)
    mask[5, 7] = mask[20:24, 30:34] = 1
    mask[28:35, 3:10] = 1
    mask[31, 6] = 0  # a hole
    assert set(small_parts(outlines(mask))) == {(7.5, 5.5), (32.0, 22.0)}
    assert svg_rings([(7.5, 5.5), (7.5, 5.5)], 2.0) == "M5.5 5.5a2 2 0 1 0 4 0a2 2 0 1 0 -4 0Z"
    assert svg_rings([], 2.0) == ""
