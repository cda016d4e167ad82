"""Which part of a slice is shown, and how bright."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from wcr_med.pictures import data_uri, grey, head_box, window


def test_box_holds_head_and_masks_and_window_makes_room_for_a_bright_lesion():
    image = np.zeros((2, 60, 50), np.float32)
    image[:, 20:40, 10:30] = 100
    masks = np.zeros(image.shape, bool)
    masks[0, 50:55, 12] = True
    box = head_box(image, masks)
    assert box.top <= 20
    assert box.bottom >= 55
    assert box.left <= 10
    assert box.right >= 30
    assert box.cut(image[0]).shape == (box.rows, box.columns)
    assert window(image, masks) == (0.0, 100.0)
    image[0, 50:55, 12] = 140
    assert window(image, masks)[1] == pytest.approx(140)
    image[0, 50:55, 12] = 300
    assert window(image, masks)[1] == pytest.approx(150)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_images_of_one_value_are_shown(value):
    image = np.full((1, 20, 20), value, np.float32)
    box = head_box(image, np.zeros(image.shape, bool))
    assert data_uri(box.cut(image[0]), window(image, np.zeros(image.shape, bool))).startswith("data:image/jpeg")


def test_large_pictures_are_made_smaller():
    rng = np.random.default_rng(0)
    data = data_uri(rng.uniform(0, 1, (700, 500)), (0.0, 1.0)).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (229, 320)


def test_a_window_without_masks_and_of_a_large_volume():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (4, 60, 60)).astype(np.uint8)
    assert window(image) == window(image, np.zeros(image.shape, bool))
    large = np.broadcast_to(rng.integers(0, 200, (1, 512, 512)).astype(np.uint8), (120, 512, 512))
    assert window(large)[1] == pytest.approx(np.percentile(large[0][large[0] > 20], 98), abs=3)


def test_grey_saturates():
    np.testing.assert_array_equal(grey(np.array([[-5.0, 0.0, 5.0, 10.0, 99.0]]), (0.0, 10.0)), [[0, 0, 128, 255, 255]])
