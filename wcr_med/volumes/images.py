"""PNG and TIFF slices: 8-bit RGB images, and masks of 0 and 255.

Pillow quietly turns some files into what was asked for (16-bit RGB into 8-bit, for one). Here every such file is
refused: a network that was trained on other intensities would answer, and be wrong.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from wcr_med.files import atomic_path
from wcr_med.volumes.image_files import check_upright, check_whole, odd_kind
from wcr_med.volumes.labels import listed
from wcr_med.volumes.names import IMAGE_SUFFIXES, own_name
from wcr_med.volumes.scratch import allocate
from wcr_med.volumes.volume import MAX_VOXELS, Array, FileError, Volume

_FORMATS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}
_MAX_PIXELS = 8192 * 8192  # checked before a pixel is decoded: a small file can claim a huge image
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277  # TIFF tags
_SAMPLES = {"L": 1, "RGB": 3}
_KEPT_BY_NIFTI = "scale to 0 to 255 and save 8 bits a channel, or use NIfTI, which keeps them"
_KINDS = {  # by Pillow's mode: what it is, and the remedy of an image
    "L": ("a grey image of one channel", "save the three sequences as red, green and blue"),
    "LA": ("a grey image with transparency", "save the three sequences as red, green and blue, without transparency"),
    "RGB": ("an RGB image", "save it with 8 bits a channel"),
    "RGBA": ("an RGB image with transparency (RGBA)", "save it without transparency"),
    "RGBX": ("an RGB image with a fourth channel", "save the three that the network takes"),
    "P": ("a palette image", "save it as RGB"),
    "PA": ("a palette image", "save it as RGB"),
    "1": ("a 1-bit image", "save it with 8 bits a channel"),
    "CMYK": ("a CMYK image", "save it as RGB"),
    "F": ("floating-point pixels", _KEPT_BY_NIFTI),
    "I": ("32-bit pixels", _KEPT_BY_NIFTI),
    "pixels that JPEG changed": ("pixels that JPEG changed", "save the scan again, compressed by LZW, Deflate or not"),
}
_REMEDY_OF_MASKS = "save it as 8-bit grey of 0 and 255"


def read_rgb(path: Path) -> Array:
    """Read one slice.

    Args:
        path: a PNG or TIFF file with one 8-bit RGB image.

    Returns:
        image_HWC, uint8.

    Raises:
        FileError: the file is missing, damaged, too large, or holds another kind of image.
    """
    return _read(path, mode="RGB", expected="an 8-bit RGB image")


def read_mask(path: Path) -> Array:
    """Read the mask of one slice.

    Args:
        path: a PNG or TIFF file with one 8-bit grey image of the values 0 and 255. All 0 is valid: no lesion.

    Returns:
        mask_HW, uint8, 0 and 1.

    Raises:
        FileError: the file is missing, damaged, too large, or holds another kind of image or other values.
    """
    return lesion_of(read_grey_mask(path), path)


def read_grey_mask(path: Path) -> Array:
    """A mask as its file holds it: grey_HW, uint8, any values; otherwise as `read_mask`."""
    return _read(path, mode="L", expected="an 8-bit grey mask")


def lesion_of(grey_HW: Array, path: Path) -> Array:
    """What `read_mask` makes of the values of a file.

    Raises:
        FileError: there are others than 0 and 255.
    """
    lesion_HW: Array = grey_HW == 255
    other = grey_HW[~lesion_HW]
    if other.any():
        shown = listed([int(value) for value in np.unique(grey_HW)])
        raise FileError(path, "mask-values", f"a mask with the values {shown}; save lesion as 255 and the rest as 0")
    mask_HW: Array = lesion_HW.astype(np.uint8)
    return mask_HW


def read_images(paths: Sequence[Path], *, patient_id: str | None = None, scratch: Path | None = None) -> Volume:
    """Read PNG or TIFF slices as one volume, in the order given.

    Args:
        paths: at least one; all images have the same size.
        patient_id: names the volume; by default the file's stem for one slice, the first file's folder for several.
        scratch: folder for the pixels of a large volume; see `wcr_med.volumes.scratch`.

    Returns:
        A volume without mask; the spacing is unknown.

    Raises:
        FileError: a file cannot be used, its size differs from the first file's, or they are too many.
        ValueError: no paths.
    """
    if not paths:
        raise ValueError("read_images needs at least one path")
    name = patient_id or (paths[0].stem if len(paths) == 1 else own_name(paths[0].parent))
    return Volume(
        patient_id=name,
        image_SHWC=stack_rgb(paths, scratch=scratch),
        mask_SHW=None,
        spacing_mm=None,
        names=tuple(path.stem for path in paths),
        nifti=None,
    )


def stack_rgb(paths: Sequence[Path], *, scratch: Path | None = None) -> Array:
    """Slices of one size as image_SHWC, uint8; each is read once, and held once.

    Raises:
        FileError: a file cannot be used, its size differs from the first file's, or they are too many.
    """
    first_HWC = read_rgb(paths[0])
    if len(paths) * first_HWC.shape[0] * first_HWC.shape[1] > MAX_VOXELS:
        problem = f"{len(paths)} slices of {_size(first_HWC)} pixels, more than any scan holds; give fewer at a time"
        raise FileError(paths[0], "too-large", problem)
    image_SHWC = allocate((len(paths), *first_HWC.shape), np.uint8, scratch)
    image_SHWC[0] = first_HWC
    for number, path in enumerate(paths[1:], start=1):
        image_HWC = read_rgb(path)
        check_same_size(path, image_HWC, paths[0], first_HWC)
        image_SHWC[number] = image_HWC
    return image_SHWC


def check_same_size(path: Path, image: Array, reference_path: Path, reference: Array) -> None:
    """Refuse a slice or mask whose rows and columns differ from those of `reference`.

    Raises:
        FileError: the sizes differ; the message names both files.
    """
    if image.shape[:2] != reference.shape[:2]:
        raise FileError(
            path,
            "wrong-shape",
            f"{_size(image)} pixels, but {reference_path.name} has {_size(reference)}; "
            "slices and masks of one patient must have one size: export them again",
        )


def write_mask_image(mask_HW: Array, path: Path) -> None:
    """Write a mask as an 8-bit grey image of 0 and 255, whole or not at all. `read_mask` reads it back.

    Args:
        mask_HW: bool or integer; every value above zero is lesion.
        path: ends in .tif, .tiff or .png, which chooses the format.

    Raises:
        FileError: the suffix is another one.
        UserError: the folder cannot be written, or the disk is full.
        ValueError: the mask has another number of axes.
    """
    if mask_HW.ndim != 2:
        raise ValueError(f"mask of shape {mask_HW.shape}, expected rows x columns")
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise FileError(path, "wrong-type", f"cannot write a mask as {path.suffix!r}; use {', '.join(IMAGE_SUFFIXES)}")
    image = Image.fromarray(np.where(mask_HW > 0, 255, 0).astype(np.uint8))
    with atomic_path(path) as temporary:
        image.save(temporary, format=file_format)


def _read(path: Path, *, mode: str, expected: str) -> Array:
    try:
        with warnings.catch_warnings():
            # Pillow warns about damaged or huge files before it fails on them; the one line below says it all.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=("TIFF", "PNG")) as image:
                _check_header(path, image, mode=mode, expected=expected)
                if isinstance(image, TiffImagePlugin.TiffImageFile):
                    check_upright(path, image)  # loading its pixels would turn them, and drop the tag
                check_whole(path, image)
                pixels: Array = np.array(image)
                check_upright(path, image)  # a PNG may tell it after its pixels
                return pixels
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(path, "missing-file", "no such file; restore it") from None
    except PermissionError:
        raise FileError(path, "unreadable", "not permitted to read it; check its permissions") from None
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except Exception as error:  # a decoder may fail on damaged bytes in any way
        detail = "cannot identify it" if isinstance(error, UnidentifiedImageError) else str(error)
        raise FileError(
            path, "unreadable", f"cannot be read as {expected} in TIFF or PNG ({detail}); copy or export it again"
        ) from error


def _check_header(path: Path, image: ImageFile.ImageFile, *, mode: str, expected: str) -> None:
    width, height = image.size
    if width * height > _MAX_PIXELS:
        raise _too_large(path)
    found = _pixel_kind(image)
    if found != mode:
        kind, remedy = _KINDS.get(found, (found, "save it with 8 bits a channel"))
        remedy = _REMEDY_OF_MASKS if mode == "L" else remedy
        raise FileError(path, "wrong-type", f"expected {expected}, found {kind}; {remedy}")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise FileError(
            path, "wrong-type", f"holds {frames} images, expected one; save each slice as a file of its own"
        )


def _pixel_kind(image: ImageFile.ImageFile) -> str:
    """Pillow's mode; where Pillow would drop bits or samples to come to it, what the file really holds."""
    bits, samples = 8, _SAMPLES.get(image.mode, 0)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,)))
        samples = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1)
    elif image.tile and "16" in str(image.tile[0][3]):
        bits = 16
    if image.mode not in _SAMPLES:
        return "16-bit pixels" if image.mode.startswith("I;16") else image.mode
    if bits > 8:
        return f"{bits}-bit {image.mode}"
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (kind := odd_kind(image)):
        return kind
    return image.mode if samples == _SAMPLES[image.mode] else "RGBX"


def _too_large(path: Path) -> FileError:
    return FileError(path, "too-large", f"claims more than {_MAX_PIXELS} pixels; no slice is so large: export it again")


def _size(image: Array) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
