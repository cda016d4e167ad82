"""PNG and TIFF slices: exact reading, exact round trips, and one line for every file that cannot be used."""

import contextlib
import errno
import io
import itertools
import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wcr_med.errors import UserError
from wcr_med.volumes import FileError
from wcr_med.volumes.images import read_images, read_mask, read_rgb, write_mask_image

ROWS, COLUMNS = 5, 7


def rgb(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)


def refusal(call, path: Path, code: str) -> str:
    """The message of a refusal: one line that names the file and a remedy; no other warning or error escapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileError) as caught:
            call(path)
    message = str(caught.value)
    assert caught.value.code == code, message
    assert caught.value.path == path
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


def png_bytes(width: int, height: int, *, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.png", "A.TIF"])
def test_rgb_is_read_exactly(tmp_path: Path, name: str) -> None:
    Image.fromarray(rgb()).save(tmp_path / name)
    image_HWC = read_rgb(tmp_path / name)
    assert image_HWC.dtype == np.uint8
    np.testing.assert_array_equal(image_HWC, rgb())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_read_exactly(tmp_path: Path, compression: str) -> None:
    Image.fromarray(rgb()).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.tif"), rgb())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
    suffix=st.sampled_from([".tif", ".tiff", ".png", ".PNG"]),
    kind=st.sampled_from([np.bool_, np.uint8, np.int64]),
)
def test_mask_round_trip(tmp_path: Path, shape: tuple[int, int], seed: int, suffix: str, kind: type) -> None:
    mask_HW = np.random.default_rng(seed).integers(0, 2, shape).astype(kind)
    path = tmp_path / f"m{suffix}"
    write_mask_image(mask_HW, path)
    with Image.open(path) as stored:
        assert stored.mode == "L"
        assert set(np.unique(stored)) <= {0, 255}
    back_HW = read_mask(path)
    assert back_HW.dtype == np.uint8
    np.testing.assert_array_equal(back_HW, mask_HW)


def test_images_become_one_volume_in_the_order_given(tmp_path: Path) -> None:
    paths = [tmp_path / "b.png", tmp_path / "a.tif"]
    for seed, path in enumerate(paths):
        Image.fromarray(rgb(seed)).save(path)
    volume = read_images(paths)
    assert volume.names == ("b", "a")
    assert volume.patient_id == tmp_path.name
    assert volume.spacing_mm is None
    assert volume.mask_SHW is None
    assert volume.nifti is None
    np.testing.assert_array_equal(volume.image_SHWC, np.stack([rgb(0), rgb(1)]))
    assert read_images(paths[:1]).patient_id == "b"
    assert read_images(paths, patient_id="p").patient_id == "p"


def test_no_images_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        read_images([])


def test_images_of_two_sizes(tmp_path: Path) -> None:
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    Image.fromarray(rgb()[:-1]).save(tmp_path / "b.png")
    message = refusal(lambda path: read_images([tmp_path / "a.png", path]), tmp_path / "b.png", "wrong-shape")
    assert "4x7" in message
    assert "5x7" in message
    assert "a.png" in message


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *itertools.product(("L", "RGBA", "P", "1", "LA", "I;16"), (".png", ".tif")),
        ("F", ".tif"),  # PNG has no such modes
        ("CMYK", ".tif"),
    ],
)
def test_images_that_are_not_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if mode in ("I;16", "F"):
        dtype = np.uint16 if mode == "I;16" else np.float32
        Image.fromarray(rgb()[..., 0].astype(dtype)).save(path)
    else:
        Image.fromarray(rgb()).convert(mode).save(path)
    message = refusal(read_rgb, path, "wrong-type")
    assert "8-bit RGB" in message
    if mode == "F":
        assert "floating-point" in message


def test_sixteen_bit_rgb_is_not_quietly_reduced(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    png.write_bytes(png_bytes(1, 1, bits=16, colour=2, data=b"\0" + b"\1\2" * 3))
    assert "16-bit RGB" in refusal(read_rgb, png, "wrong-type")
    tiff = tmp_path / "a.tif"
    tifffile.imwrite(tiff, rgb().astype(np.uint16) * 256, photometric="rgb")
    assert "16-bit RGB" in refusal(read_rgb, tiff, "wrong-type")


def test_a_fourth_channel_is_not_quietly_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    four_HWC = np.concatenate([rgb(), rgb(1)[..., :1]], axis=-1)
    tifffile.imwrite(path, four_HWC, photometric="rgb", extrasamples=["unspecified"], metadata=None)
    assert "fourth channel" in refusal(read_rgb, path, "wrong-type")


@pytest.mark.parametrize(
    ("mode", "words"),
    [("L", "grey image of one channel"), ("RGBA", "without transparency"), ("P", "palette"), ("1", "1-bit"),
     ("CMYK", "save it as RGB"), ("I;16", "16-bit")],
)  # fmt: skip
def test_the_remedy_is_that_of_the_kind(tmp_path: Path, mode: str, words: str) -> None:
    path = tmp_path / "a.tif"
    image = Image.fromarray(rgb()[..., 0].astype(np.uint16)) if mode == "I;16" else Image.fromarray(rgb()).convert(mode)
    image.save(path)
    assert words in refusal(read_rgb, path, "wrong-type")


def test_an_animated_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(rgb()).save(path, save_all=True, append_images=[Image.fromarray(rgb(1))])
    assert "2 images" in refusal(read_rgb, path, "wrong-type")


def test_slices_that_are_too_many_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcr_med.volumes.images.MAX_VOXELS", 2 * ROWS * COLUMNS)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(rgb()).save(path)
    refusal(lambda path: read_images([path, *paths[1:]]), paths[0], "too-large")
    assert read_images(paths[:2]).image_SHWC.shape[0] == 2


def test_a_large_volume_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcr_med.volumes.scratch.IN_MEMORY_BYTES", 10)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(rgb(number)).save(path)
    volume = read_images(paths, scratch=tmp_path)
    assert isinstance(volume.image_SHWC, np.memmap)
    np.testing.assert_array_equal(volume.image_SHWC, np.stack([rgb(number) for number in range(3)]))
    assert sorted(tmp_path.iterdir()) == paths


def test_floating_point_rgb_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb().astype(np.float32), photometric="rgb")
    refusal(read_rgb, path, "unreadable")


def test_a_tiff_of_several_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    first, second = Image.fromarray(rgb(0)), Image.fromarray(rgb(1))
    first.save(path, save_all=True, append_images=[second])
    assert "2 images" in refusal(read_rgb, path, "wrong-type")


def test_a_tiff_truncated_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.tile(rgb(), (5, 5, 1))).save(path)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 20, 60, *range(61, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refusal(read_rgb, path, "unreadable")


def test_a_png_truncated_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels_HWC = np.tile(rgb(), (5, 5, 1))
    Image.fromarray(pixels_HWC).save(path)
    whole = path.read_bytes()
    after_pixels = 20  # checksums and the closing chunk: with these gone, every pixel may still be there
    for length in [0, 1, 7, 8, 20, 60, *range(61, len(whole) - after_pixels, 97)]:
        path.write_bytes(whole[:length])
        refusal(read_rgb, path, "unreadable")
    for length in range(len(whole) - after_pixels, len(whole)):
        path.write_bytes(whole[:length])
        with contextlib.suppress(FileError):
            np.testing.assert_array_equal(read_rgb(path), pixels_HWC)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_read_or_refused_never_more(tmp_path: Path, data: st.DataObject) -> None:
    stream = io.BytesIO()
    Image.fromarray(rgb()).save(stream, format=data.draw(st.sampled_from(["TIFF", "PNG"])))
    damaged = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.tif"
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(FileError):
            assert read_rgb(path).dtype == np.uint8


@pytest.mark.parametrize("side", [8193, 10_000, 60_000])
def test_a_header_that_claims_a_huge_image(tmp_path: Path, side: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(side, side, bits=8, colour=2, data=b""))
    refusal(read_rgb, path, "too-large")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    refusal(read_rgb, tmp_path / "absent.tif", "missing-file")
    (tmp_path / "folder.tif").mkdir()
    refusal(read_rgb, tmp_path / "folder.tif", "unreadable")
    (tmp_path / "text.tif").write_text("not an image", encoding="utf-8")
    refusal(read_rgb, tmp_path / "text.tif", "unreadable")
    Image.fromarray(rgb()).save(tmp_path / "a.jpg")
    refusal(read_rgb, tmp_path / "a.jpg", "unreadable")


@pytest.mark.parametrize(
    ("values", "shown"),
    [((0, 1), "0, 1;"), ((0, 1, 2, 3), "0, 1, 2, 3;"), ((0, 254), "0, 254;"), ((1, 1), "1;"), (range(9), "5, ...;")],
)
def test_masks_with_other_values(tmp_path: Path, values: tuple[int, ...], shown: str) -> None:
    path = tmp_path / "m.tif"
    Image.fromarray(np.array([values], dtype=np.uint8)).save(path)
    message = refusal(read_mask, path, "mask-values")
    assert shown in message
    assert "255" in message


def test_masks_all_lesion_and_none(tmp_path: Path) -> None:
    for value, expected in ((0, 0), (255, 1)):
        Image.fromarray(np.full((2, 3), value, dtype=np.uint8)).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), np.full((2, 3), expected))


def test_a_colour_mask(tmp_path: Path) -> None:
    Image.fromarray(rgb()).save(tmp_path / "m.png")
    assert "grey mask" in refusal(read_mask, tmp_path / "m.png", "wrong-type")


def test_a_mask_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask_HW = np.ones((3, 3), dtype=np.uint8)
    out = tmp_path / "out"
    refusal(lambda path: write_mask_image(mask_HW, path), out / "m.jpg", "wrong-type")
    assert not out.exists()
    with pytest.raises(ValueError, match="rows x columns"):
        write_mask_image(mask_HW[None], out / "m.png")

    def full(_image: Image.Image, target: Path, **_options: str) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="disk is full"):
        write_mask_image(mask_HW, out / "m.png")
    assert list(out.iterdir()) == []


def test_a_fault_survives_the_way_from_a_worker_process() -> None:
    fault = FileError(Path("a.tif"), "unreadable", "broken;\n restore it")
    back = pickle.loads(pickle.dumps(fault))
    assert (str(back), back.path, back.code, back.problem) == (str(fault), fault.path, fault.code, fault.problem)
    assert back.problem == "broken; restore it"
