"""Files that hold less than their header promises, or other numbers than they seem to."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wcr_med.volumes import FileError
from wcr_med.volumes.images import read_mask, read_rgb

ROWS, COLUMNS = 24, 40
RGB = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
GREY = np.where(RGB[..., 0] > 128, 255, 0).astype(np.uint8)
PLANES = np.moveaxis(RGB, 2, 0)


def promise_png(path: Path, rows: int, columns: int = COLUMNS) -> None:
    """Rewrite the header of a PNG."""
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", columns, rows)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def promise_tiff(path: Path, rows: int, columns: int = COLUMNS) -> None:
    """Rewrite the header of a TIFF; one strip of all rows stays one."""
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        tags["ImageLength"].overwrite(rows)
        tags["ImageWidth"].overwrite(columns)
        if "RowsPerStrip" in tags and tags["RowsPerStrip"].value == ROWS:
            tags["RowsPerStrip"].overwrite(rows)


def write_interlaced(path: Path) -> None:
    """Adam7, which Pillow reads and does not write."""
    lines = b""
    for row, row_step, column, column_step in (
        (0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1),
    ):  # fmt: skip
        for line in RGB[row::row_step, column::column_step]:
            lines += b"\0" + line.tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", COLUMNS, ROWS, 8, 2, 0, 0, 1)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(content)


Write = Callable[[Path], object]
TIFFS: dict[str, Write] = {
    "one_strip": lambda path: tifffile.imwrite(path, RGB, photometric="rgb"),
    "strips": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", rowsperstrip=7),
    "big_endian": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", byteorder=">"),
    "bigtiff": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", bigtiff=True),
    "tiles": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", tile=(16, 16)),
    "planes": lambda path: tifffile.imwrite(path, PLANES, photometric="rgb", planarconfig="separate"),
    "planes_deflate": lambda path: tifffile.imwrite(
        path, PLANES, photometric="rgb", planarconfig="separate", compression="deflate", rowsperstrip=5
    ),
    "deflate": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", compression="deflate", predictor=True),
    "lzw": lambda path: Image.fromarray(RGB).save(path, compression="tiff_lzw"),
    "packbits": lambda path: Image.fromarray(RGB).save(path, compression="packbits"),
}
PNGS: dict[str, Write] = {"plain": lambda path: Image.fromarray(RGB).save(path), "interlaced": write_interlaced}


@pytest.mark.parametrize("kind", TIFFS)
def test_tiffs(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.tif"
    TIFFS[kind](path)
    np.testing.assert_array_equal(read_rgb(path), RGB)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3] if kind not in ("lzw", "packbits") else whole[:-1])
    with pytest.raises(FileError):
        read_rgb(path)
    for rows, columns in ((2 * ROWS, COLUMNS), (ROWS, 4 * COLUMNS)):
        path.write_bytes(whole)
        promise_tiff(path, rows, columns)
        with pytest.raises(FileError, match=r"truncated|decoder error"):
            read_rgb(path)


@pytest.mark.parametrize("kind", PNGS)
def test_pngs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.png"
    PNGS[kind](path)
    np.testing.assert_array_equal(read_rgb(path), RGB)
    whole = path.read_bytes()
    for rows in (ROWS + 1, 2 * ROWS):
        path.write_bytes(whole)
        promise_png(path, rows)
        with pytest.raises(FileError, match="truncated: it holds"):
            read_rgb(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="truncated: it holds"):
        read_rgb(path)
    path.write_bytes(whole)
    promise_png(path, ROWS // 2)
    with pytest.raises(FileError, match="more pixels than its header tells"):
        read_rgb(path)


@pytest.mark.parametrize("kind", ["one_strip", "lzw", "tiles", "png"])
def test_memory_is_that_of_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("s.png" if kind == "png" else "s.tif")
    PNGS["plain"](path) if kind == "png" else TIFFS[kind](path)
    promise_png(path, 8000, 8000) if kind == "png" else promise_tiff(path, 8000, 8000)
    tracemalloc.start()
    with pytest.raises(FileError, match="truncated"):
        read_rgb(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_numbers_that_are_not_what_they_seem(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, GREY.view(np.int8))
    with pytest.raises(FileError, match="signed samples; save it as 8-bit grey of 0 and 255"):
        read_mask(path)
    Image.fromarray(RGB).save(path, compression="jpeg")
    with pytest.raises(FileError, match="pixels that JPEG changed; save the scan again"):
        read_rgb(path)
    tifffile.imwrite(path, 255 - GREY, photometric="miniswhite")  # white is 0 there
    np.testing.assert_array_equal(read_mask(path), GREY // 255)


@pytest.mark.parametrize("mode", ["P", "LA", "RGB", "RGBA", "1", "I;16", "F", "CMYK"])
def test_advice_for_masks_is_of_masks(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "s_mask.tif"
    image = Image.fromarray(GREY)
    (image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)).save(path)
    with pytest.raises(FileError) as caught:
        read_mask(path)
    assert caught.value.problem.endswith("; save it as 8-bit grey of 0 and 255")
