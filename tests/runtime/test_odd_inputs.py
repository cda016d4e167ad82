"""Whatever lies in a folder: a mask, or one line that names the file and a remedy; never a wrong mask, never a stop."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.exported import small_volume
from tests.runtime.test_infer import write_nifti
from wcr_med.runtime import infer

RGB = small_volume(n_slices=1).image_SHWC[0]
GREY = RGB[..., 0]


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=file_format, **options)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 3.6 thousand million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(values: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


SLICES = {
    "grey.png": saved(Image.fromarray(GREY), "PNG"),
    "rgba.png": saved(Image.fromarray(RGB).convert("RGBA"), "PNG"),
    "palette.png": saved(Image.fromarray(RGB).convert("P"), "PNG"),
    "one_bit.tif": saved(Image.fromarray(RGB).convert("1"), "TIFF"),
    "grey_16.png": saved(Image.fromarray(GREY.astype(np.uint16) * 256), "PNG"),
    "rgb_16.tif": tiff(RGB.astype(np.uint16) * 256, photometric="rgb"),
    "float.tif": saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
    "rgb_float.tif": tiff(RGB.astype(np.float32), photometric="rgb"),
    "four.tif": tiff(np.concatenate([RGB, RGB[..., :1]], axis=-1), photometric="rgb", extrasamples=["unspecified"]),
    "pages.tif": saved(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]),
    "cmyk.tif": saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"),
    "empty.tif": b"",
    "text.tif": b"not an image\n" * 20,
    "bomb.png": bomb(),
    "cut.tif": saved(Image.fromarray(RGB), "TIFF")[:500],
    "cut.png": saved(Image.fromarray(RGB), "PNG")[:500],
    "jpeg.png": saved(Image.fromarray(RGB), "JPEG"),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_that_are_refused(model_file: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "odd"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(SLICES[name])
    refused(model_file, tmp_path, name)


Change = Callable[[nib.Nifti1Image], object]
VALUES = np.moveaxis(small_volume(n_slices=4).image_SHWC, 0, 2).astype(np.float32)


def header_of(offset: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:offset] + content + raw[offset + len(content) :]


VOLUMES: dict[str, tuple[np.ndarray, Callable[[bytes], bytes]]] = {
    "nan": (np.where(VALUES > 190, np.nan, VALUES), bytes),
    "infinite": (np.where(VALUES > 190, np.inf, VALUES), bytes),
    "zero_spacing": (VALUES, header_of(84, np.float32(0).tobytes())),
    "five_axes": (np.stack([VALUES, VALUES], axis=-1), bytes),
    "one_channel": (VALUES[..., 0], bytes),
    "complex": (VALUES.astype(np.complex64), bytes),
    "no_number_slope": (VALUES, header_of(116, np.float32(np.nan).tobytes())),
    "huge_slope": (VALUES, header_of(112, np.float32(3e38).tobytes())),
    "wrong_magic": (VALUES, header_of(344, b"xx1\0")),
    "unplaced": (VALUES, header_of(252, bytes(4))),
    "negative_size": (VALUES, header_of(42, np.int16(-7).tobytes())),
    "huge": (VALUES, header_of(42, np.array([32767] * 3, np.int16).tobytes())),
    "more_than_there_is": (VALUES, header_of(46, np.int16(3000).tobytes())),
    "far_offset": (VALUES, header_of(108, np.float32(3e9).tobytes())),
    "cut": (VALUES, lambda raw: raw[:-100]),
    "header_alone": (VALUES, lambda raw: raw[:348]),
    "nothing": (VALUES, lambda _: b""),
    "text": (VALUES, lambda _: b"no image" * 100),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_that_are_refused(model_file: Path, tmp_path: Path, name: str, compressed: bool) -> None:
    values, change = VOLUMES[name]
    plain = tmp_path / "plain.nii"
    write_nifti(plain, values)
    path = tmp_path / "in" / f"odd.nii{'.gz' if compressed else ''}"
    path.parent.mkdir()
    changed = change(plain.read_bytes())
    path.write_bytes(gzip.compress(changed) if compressed else changed)
    refused(model_file, tmp_path, path.name)


def test_colour_voxels(model_file: Path, tmp_path: Path) -> None:
    colour = np.zeros((8, 8, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    write_nifti(tmp_path / "in" / "odd.nii.gz", colour)
    refused(model_file, tmp_path, "odd.nii.gz")


def refused(model_file: Path, folder: Path, name: str) -> None:
    """The odd one is told in one line, the good one beside it is segmented."""
    good = folder / "in" / "good"
    good.mkdir()
    Image.fromarray(RGB).save(good / "s1.png")
    report = infer(model_file, [folder / "in"], folder / "out", threads=1)
    assert [volume.name for volume in report.volumes] == ["good"]
    (failure,) = report.failures
    assert name in failure.message
    assert "\n" not in failure.message
    assert ";" in failure.message, "no remedy"
    assert "unexpected error" not in failure.message
    assert {path.name for path in (folder / "out").rglob("*_mask*")} == {"s1_mask.png"}


def test_scaled_integers_are_what_their_header_says(model_file: Path, tmp_path: Path) -> None:
    """A slope of the header is not lost: the mask is that of the numbers meant."""
    stored = VALUES.astype(np.int16)
    write_nifti(tmp_path / "meant.nii", stored.astype(np.float32) * 0.5 - 50)
    write_nifti(tmp_path / "scaled.nii", stored)
    raw = (tmp_path / "scaled.nii").read_bytes()
    (tmp_path / "scaled.nii").write_bytes(header_of(112, np.array([0.5, -50], np.float32).tobytes())(raw))
    names = ("meant", "scaled")
    infer(model_file, [tmp_path / f"{name}.nii" for name in names], tmp_path / "out", threads=1)
    masks = [np.asarray(nib.load(tmp_path / "out" / f"{name}_mask.nii.gz").dataobj) for name in names]
    assert 0 < masks[0].mean() < 1
    np.testing.assert_array_equal(*masks)
