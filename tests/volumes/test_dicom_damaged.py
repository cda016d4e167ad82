"""DICOM elements that are empty or damaged: what is meant by an empty one, and one line for all else."""

import contextlib
import random
import warnings

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom

from tests.volumes.dicom_files import write_series
from wcr_med.volumes import FileError
from wcr_med.volumes.choice import choose_channels
from wcr_med.volumes.dicom import read_dicom

IMAGE_SHW = np.arange(3 * 6 * 7, dtype=np.uint16).reshape(3, 6, 7)
TIMES = {
    "RepetitionTime": "9000",
    "EchoTime": "120",
    "InversionTime": "2500",
    "RescaleSlope": "1",
    "RescaleIntercept": "0",
}


def read(folder):
    channels = choose_channels(("FLAIR",), 1)
    return read_dicom(sorted(folder.glob("*.dcm")), patient_id="p", channels=channels)


def test_empty_elements_have_their_usual_meaning(tmp_path):
    for path in write_series(tmp_path, IMAGE_SHW):
        image = pydicom.dcmread(path)
        for keyword in ("RescaleSlope", "RescaleIntercept", "SamplesPerPixel", "NumberOfFrames", "SeriesNumber"):
            image.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), None)
        image.save_as(path)
        assert pydicom.dcmread(path)["RescaleSlope"].is_empty
    np.testing.assert_array_equal(read(tmp_path).image_SHWC[..., 0], IMAGE_SHW)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", "0.5", r"PixelSpacing is '0.5', expected 2 numbers"),
        ("PixelSpacing", "", r"holds no PixelSpacing"),
        ("PixelSpacing", "0.5\\x", r"PixelSpacing"),
        ("ImageOrientationPatient", "1\\0\\0\\0\\1", r"expected 6 numbers"),
        ("ImagePositionPatient", "1\\2", r"expected 3 numbers"),
        ("ImagePositionPatient", "1\\2\\b", r"ImagePositionPatient"),
        ("RescaleSlope", "1\\2", r"RescaleSlope .* expected one number"),
        ("RescaleSlope", "a", r"RescaleSlope"),
        ("RescaleIntercept", "1e999", r"RescaleIntercept"),
        ("NumberOfFrames", "x", r"NumberOfFrames"),
        ("EchoTime", "12,5", r"EchoTime"),
    ],
)
def test_a_damaged_element_is_named_with_its_file(tmp_path, keyword, value, words):
    path = write_series(tmp_path, IMAGE_SHW, description="", **TIMES)[1]
    image = pydicom.dcmread(path)
    image.pop(keyword, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vr = pydicom.datadict.dictionary_VR(keyword)
        raw = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(keyword), vr, len(value), value.encode(), 0, False, True, True
        )
        image._dict[raw.tag] = raw
        # In the first file of the series, whose words and times tell the kind.
        for other in tmp_path.glob("*.dcm"):
            if other != path:
                other.unlink()
        image.save_as(path)
        with pytest.raises(FileError, match=words) as error:
            read(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(6))
def test_small_mutations_end_as_a_volume_or_as_one_line(tmp_path, seed):
    """Bytes of the header changed at random: a volume, or the one error that is a line with the file."""
    path = write_series(tmp_path, IMAGE_SHW[:1], description="", **TIMES)[0]
    whole = path.read_bytes()
    header = range(132, len(whole) - IMAGE_SHW[0].nbytes)
    rng = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(120):
            damaged = bytearray(whole)
            for _ in range(rng.choice((1, 1, 2, 4))):
                damaged[rng.choice(header)] = rng.choice((0, 32, 44, 65, 92, 97, 255, rng.randrange(256)))
            path.write_bytes(damaged)
            with contextlib.suppress(FileError):
                assert np.isfinite(read(tmp_path).image_SHWC).all()
