"""What a PNG or TIFF file promises and what it holds, told before its pixels are decoded.

Pillow decodes some files of too few rows, the missing ones black, and makes room for all pixels of a header first. It
turns TIFFs by their orientation tag and PNGs not. Here such files are refused.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, ImageFile, TiffImagePlugin

from wcr_med.volumes.volume import FileError

# TIFF tags
_COLUMNS, _ROWS = 256, 257
_BITS, _COMPRESSION, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 258, 259, 273, 277, 278, 279
_PLANES, _TILE_WIDTH, _TILE_ROWS, _TILE_OFFSETS, _TILE_BYTES, _NUMBER_KIND = 284, 322, 323, 324, 325, 339
_UNCOMPRESSED, _SEPARATE, _UNSIGNED = 1, 2, 1
_LOSSY = {6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 34892: "JPEG", 50001: "WebP"}  # of the compression tag
_LARGEST_RATIO = 4096  # of bytes to their compressed form: Deflate allows 1032, LZW some 2500

_BLOCK = 1 << 16
_INTERLACED = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""Adam7 of the PNG standard: first row, step of rows, first column, step of columns of each pass."""

_TURNED = range(2, 9)  # of the orientation tag; 1: as stored, and anything else means nothing


def check_whole(path: Path, image: ImageFile.ImageFile) -> None:
    """Refuse a file whose data are fewer than its header promises, before room is made for its pixels.

    Args:
        path: of the file.
        image: opened, of 8 bits a sample, not loaded.

    Raises:
        FileError: the file is truncated.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(path, image)
    else:
        _check_png(path, n_channels=len(image.getbands()))


def check_upright(path: Path, image: ImageFile.ImageFile) -> None:
    """Refuse a picture that is to be turned or mirrored before it is shown (TIFF and EXIF tag 274, values 2 to 8).

    Programs differ in whether they obey it, so a mask of stored pixels would lie wrong in one half of them.

    Args:
        path: of the file.
        image: a TIFF before its pixels are loaded, a PNG in any state.

    Raises:
        FileError: the tag asks for a turn.
    """
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = image.tag_v2.get(ExifTags.Base.Orientation, found)
    if found in _TURNED:
        problem = f"its orientation tag is {found}, and not all programs obey that; save it upright, with tag 1 or none"
        raise FileError(path, "wrong-type", problem)


def odd_kind(image: TiffImagePlugin.TiffImageFile) -> str | None:
    """What a TIFF of 8 bits a sample holds in place of unsigned numbers kept without loss; `None`: these.

    Pillow would read a signed -1 as 255; JPEG moves intensities, and its decoder fills missing rows.
    """
    if lossy := _LOSSY.get(image.tag_v2.get(_COMPRESSION, _UNCOMPRESSED)):
        return f"pixels that {lossy} changed"
    kinds = set(_numbers(image, _NUMBER_KIND)) or {_UNSIGNED}
    return None if kinds == {_UNSIGNED} else "signed samples"


def _check_tiff(path: Path, image: TiffImagePlugin.TiffImageFile) -> None:
    tags = image.tag_v2
    width, height = int(tags[_COLUMNS]), int(tags[_ROWS])
    n_samples = int(tags.get(_SAMPLES, 1))
    bytes_of_pixel = sum(_numbers(image, _BITS) or (8,)) // 8
    planes = n_samples if tags.get(_PLANES, 1) == _SEPARATE else 1
    if _TILE_OFFSETS in tags:
        block_width, block_rows = int(tags[_TILE_WIDTH]), int(tags[_TILE_ROWS])
        offsets, sizes = _numbers(image, _TILE_OFFSETS), _numbers(image, _TILE_BYTES)
        n_across = -(-width // block_width)
    else:
        block_width, block_rows = width, min(int(tags.get(_ROWS_PER_STRIP, height)), height)
        offsets, sizes = _numbers(image, _STRIP_OFFSETS), _numbers(image, _STRIP_BYTES)
        n_across = 1
    n_down = -(-height // block_rows)
    row_bytes = block_width * bytes_of_pixel // planes
    full, last = row_bytes * block_rows, row_bytes * (height - (n_down - 1) * block_rows)
    if _TILE_OFFSETS in tags:
        last = full
    n_blocks = n_across * n_down * planes
    n_bytes = path.stat().st_size
    if not sizes and tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        sizes = (full,) * len(offsets)  # the standard asks for them, some writers leave them out
    if len(offsets) < n_blocks or len(sizes) < n_blocks:
        raise _truncated(path, f"data for {min(len(offsets), len(sizes))} of {n_blocks} parts")
    for number, (offset, size) in enumerate(zip(offsets[:n_blocks], sizes[:n_blocks], strict=True)):
        needed = last if (number // n_across) % n_down == n_down - 1 else full
        enough = size >= needed if tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED else size > 0
        if not enough or offset <= 0 or offset + size > n_bytes:
            raise _truncated(path, f"too few bytes for part {number + 1} of {n_blocks}")
    if width * height * bytes_of_pixel > n_bytes * _LARGEST_RATIO:
        raise _truncated(path, f"{n_bytes} bytes")


def _numbers(image: TiffImagePlugin.TiffImageFile, tag: int) -> tuple[int, ...]:
    """A tag's values; none where it is absent."""
    found = image.tag_v2.get(tag, ())
    return tuple(int(value) for value in found) if isinstance(found, tuple) else (int(found),)


def _check_png(path: Path, *, n_channels: int) -> None:
    with path.open("rb") as stream:
        header = stream.read(33)
        width, height = struct.unpack(">II", header[16:24])
        needed = sum(rows * (1 + columns * n_channels) for rows, columns in _passes(width, height, header[28]))
        decoder, n_bytes = zlib.decompressobj(), 0
        for packed in _pixel_data(stream):
            content = packed
            while content and not decoder.eof and n_bytes <= needed:
                n_bytes += len(decoder.decompress(content, _BLOCK))
                content = decoder.unconsumed_tail
        while not decoder.eof and n_bytes <= needed and (rest := decoder.decompress(b"", _BLOCK)):
            n_bytes += len(rest)
    if n_bytes > needed:
        raise FileError(path, "unreadable", "holds more pixels than its header tells; copy or export it again")
    if n_bytes < needed or not decoder.eof:
        raise _truncated(path, f"{n_bytes} of {needed} bytes of pixels")


def _passes(width: int, height: int, interlaced: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of each pass that has some."""
    for row, row_step, column, column_step in _INTERLACED if interlaced else ((0, 1, 0, 1),):
        rows, columns = -(-(height - row) // row_step), -(-(width - column) // column_step)
        if rows > 0 and columns > 0:
            yield rows, columns


def _pixel_data(stream: BinaryIO) -> Iterator[bytes]:
    """What the IDAT chunks hold, a block at a time."""
    while len(head := stream.read(8)) == 8:
        left = int.from_bytes(head[:4], "big")
        if head[4:] != b"IDAT":
            stream.seek(left + 4, 1)
            continue
        while left and (block := stream.read(min(left, _BLOCK))):
            left -= len(block)
            yield block
        stream.seek(4, 1)


def _truncated(path: Path, held: str) -> FileError:
    problem = f"truncated: it holds {held}, fewer than its header promises; copy or export it again"
    return FileError(path, "unreadable", problem)
