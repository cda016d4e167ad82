"""What stands in a picture, and where."""

import dataclasses

import numpy as np
import pytest
from PIL import ImageColor

from wcr_med.pictures import STYLES, Marks, background_channel, draw, frame
from wcr_med.pictures.marks import scale_bar

MARKS = Marks(sequence="FLAIR", number=3, n_slices=20, sides_known=True, column_mm=0.5)
BLACK_TO_WHITE = (0.0, 255.0)


def words(marks, **sizes):
    return [text.words for text in frame(marks, **{"width": 512, "height": 512, "columns": 256, **sizes}).texts]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("pre-contrast", "FLAIR", "post-contrast"), 1),
        (("t1", "t1ce", "t2", "flair"), 3),
        (("T2-Flair tra", "FLAIR sag"), 0),
        (("t1", "t2"), 0),
        (("channel 1",), 0),
    ],
)
def test_the_sequence_that_is_named_flair_is_shown(names, shown):
    assert background_channel(names) == shown


def test_every_picture_says_what_it_is():
    assert words(MARKS) == ["FLAIR, slice 3 of 20", "R", "L", "20 mm", "research use only"]
    unknown = dataclasses.replace(MARKS, sides_known=False, column_mm=None)
    assert words(unknown) == ["FLAIR, slice 3 of 20", "sides unknown", "50 px", "research use only"]
    assert words(dataclasses.replace(MARKS, legend=(("network", "the network"),)))[-1] == "the network"


def test_right_is_on_the_left_as_radiologists_have_it():
    right, left = (text for text in frame(MARKS, width=200, height=100, columns=100).texts if text.words in "RL")
    assert (right.words, left.words) == ("R", "L")
    assert right.x < 50
    assert left.x > 150


@pytest.mark.parametrize(
    ("width", "column_mm", "length", "label"),
    [
        (256, 1.0, 50, "50 mm"),
        (256, 0.9, 50 / 0.9, "50 mm"),
        (256, None, 50, "50 px"),
        (60, 3.0, 50 / 3, "50 mm"),
        (10, None, 2, "2 px"),
        (512, 0.001, 100, "0.1 mm"),
        (2000, 0.25, 400, "100 mm"),
    ],
)
def test_the_bar_has_a_round_length(width, column_mm, length, label):
    found = scale_bar(width, column_mm)
    assert found == (pytest.approx(length), label)
    assert found[0] <= 0.3 * width + 1e-9


def test_a_long_name_of_a_sequence_is_cut():
    assert words(dataclasses.replace(MARKS, sequence="a" * 40))[0] == "a" * 21 + "\u2026, slice 3 of 20"


def test_outlines_differ_without_colour():
    network = [STYLES[key] for key in ("reference", "dense", "pruned")]
    assert len({style.words for style in network}) == len({style.dashes for style in network}) == 3
    levels = [sum(w * c for w, c in zip((299, 587, 114), ImageColor.getrgb(s.colour), strict=True)) for s in network]
    assert levels[0] > 1.2 * levels[1]  # and the one that is solid is the brightest in grey


def is_colour(picture, key):
    return (picture == ImageColor.getrgb(STYLES[key].colour)).all(axis=2)


def test_the_outline_lies_on_the_border_of_the_mask_on_a_grey_image():
    mask = np.zeros((256, 300), np.uint8)
    mask[10:20, 30:50] = 1
    picture = draw(np.full((256, 300), 90, np.uint8), BLACK_TO_WHITE, {"network": mask}, MARKS)
    above = round(frame(MARKS, width=600, height=512, columns=300, size=600 / 26).above)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (600, 3)
    assert picture.shape[0] > 512 + above
    rows, columns = np.nonzero(is_colour(picture, "network"))
    for found, expected in zip(
        (rows.min() - above, rows.max() - above, columns.min(), columns.max()), (20, 40, 60, 100), strict=True
    ):
        assert abs(found - expected) <= 2
    assert (picture[above + 24 : above + 36, 66:94] == 90).all()


def test_pixels_have_their_true_shape():
    tall = draw(np.zeros((100, 200)), BLACK_TO_WHITE, {}, MARKS, pixel_aspect=2.0)
    square = draw(np.zeros((200, 200)), BLACK_TO_WHITE, {}, MARKS)
    assert tall.shape == square.shape
    flat = draw(np.zeros((400, 200)), BLACK_TO_WHITE, {}, MARKS, pixel_aspect=0.5)
    assert flat.shape == square.shape


def test_dashes_leave_gaps_and_solid_lines_do_not():
    mask = np.zeros((64, 64), np.uint8)
    mask[8:56, 8:56] = 1
    drawn = {key: draw(np.full((64, 64), 200), BLACK_TO_WHITE, {key: mask}, MARKS) for key in STYLES}
    share = {key: is_colour(picture, key).sum() / round(STYLES[key].width) for key, picture in drawn.items()}
    assert share["pruned"] < 0.8 * share["network"]
    assert share["dense"] < 0.9 * share["network"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (513, 700)])
def test_any_size_is_drawn(shape):
    picture = draw(np.zeros(shape), (0.0, 1.0), {"network": np.ones(shape, bool)}, MARKS)
    assert min(picture.shape[:2]) >= min(512, max(shape))


def test_a_single_voxel_has_a_ring():
    mask = np.zeros((64, 64), np.uint8)
    mask[32, 32] = 1
    large = np.zeros((64, 64), np.uint8)
    large[20:44, 20:44] = 1
    white = [
        (draw(np.zeros((64, 64)), BLACK_TO_WHITE, {"network": m}, MARKS) == 255).all(axis=2) for m in (mask, large)
    ]
    above = round(frame(MARKS, width=512, height=512, columns=64, size=512 / 26).above)
    inside = [picture[above + 200 : above + 320, 200:320].sum() for picture in white]
    assert inside[0] > 50
    assert inside[1] == 0
