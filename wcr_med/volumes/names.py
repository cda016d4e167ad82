"""What a file's name says of its kind; no file is opened and no image library loaded."""

from pathlib import Path

IMAGE_SUFFIXES = (".tif", ".tiff", ".png")
"""Suffixes of slices, in lower case; upper case is read too."""

TIFF_SUFFIXES = (".tif", ".tiff")
"""Those of kaggle_3m, in lower case; upper case is read too."""

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".pgm", ".ppm")
"""Suffixes of pictures that are never read, in lower case: a slice among them would be lost without a word."""

NIFTI_SUFFIXES = (".nii", ".nii.gz")
"""Suffixes of NIfTI volumes, in lower case; upper case is read too."""


def is_image(path: Path) -> bool:
    """Whether the name ends as a slice's does."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_left_out(path: Path) -> bool:
    """Whether a visible file beside TIFF slices looks like an image, and is not read there."""
    other = path.suffix.lower() not in TIFF_SUFFIXES and looks_like_an_image(path)
    return other and not path.name.startswith(".") and path.is_file()


def looks_like_an_image(path: Path) -> bool:
    """Whether the name ends as that of an image does, of a kind that is read or of another one."""
    return is_image(path) or is_nifti(path) or is_dicom(path) or path.suffix.lower() in PICTURE_SUFFIXES


def own_name(path: Path) -> str:
    """The name of a file or folder: a link keeps its own; `..`, `.` and a root are named by what they stand for.

    Never empty, and never `.` or `..`: results may be written under it.
    """
    if path.name in ("", ".."):
        return path.resolve().name or "root"
    return path.name


def is_unicode(name: str) -> bool:
    """Whether a name can be written as UTF-8; the bytes of a file's name need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


DICOM_SUFFIX = ".dcm"
"""Suffix of DICOM files, in lower case; upper case is read too."""

DICOM_MASK_SUFFIX = ".seg.dcm"
"""How names of DICOM segmentations end that this package writes; they are no images."""


def is_dicom(path: Path) -> bool:
    """Whether the name ends as a DICOM image's does."""
    name = path.name.lower()
    return name.endswith(DICOM_SUFFIX) and not name.endswith(DICOM_MASK_SUFFIX)


def is_nifti(path: Path) -> bool:
    """Whether the name ends in .nii or .nii.gz."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)
