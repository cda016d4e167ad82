import doctest
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wcr_med.volumes import pixels
from wcr_med.volumes.kaggle import read_kaggle_patient
from wcr_med.volumes.pixels import pixel_hash


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(pixels, extraglobs={"np": np}).failed == 0


def test_is_what_its_docstring_says() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    expected = hashlib.sha256(b"uint8 2 3 4\n" + bytes(range(24))).hexdigest()
    assert pixel_hash(values) == expected
    assert pixel_hash(np.asfortranarray(values)) == expected
    wide = values.astype(">i2")
    assert pixel_hash(wide) == pixel_hash(values.astype("<i2"))


@pytest.mark.parametrize("other", [np.zeros((2, 2), np.int8), np.zeros((4, 1), np.uint8), np.ones((2, 2), np.uint8)])
def test_type_shape_and_values_count(other: np.ndarray) -> None:
    assert pixel_hash(other) != pixel_hash(np.zeros((2, 2), np.uint8))


def test_a_copy_with_other_bytes_has_the_same_hash(phantom_root: Path, tmp_path: Path) -> None:
    folder = sorted(path for path in phantom_root.iterdir() if path.is_dir())[0]
    copy = tmp_path / folder.name
    copy.mkdir()
    for path in folder.glob("*.tif"):
        with Image.open(path) as image:
            image.save(copy / path.name, compression="tiff_lzw")
        assert (copy / path.name).read_bytes() != path.read_bytes()
    first, second = (read_kaggle_patient(place, with_mask=True) for place in (folder, copy))
    assert first.mask_SHW is not None
    assert second.mask_SHW is not None
    assert pixel_hash(first.image_SHWC) == pixel_hash(second.image_SHWC)
    assert pixel_hash(first.mask_SHW) == pixel_hash(second.mask_SHW)
    assert pixel_hash(first.image_SHWC) != pixel_hash(first.mask_SHW)
