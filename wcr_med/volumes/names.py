"""What a file's name says of its kind; no file is opened and no image library loaded."""

from pathlib import Path

IMAGE_SUFFIXES = (".tif", ".tiff", ".png")
"""Suffixes of slices, in lower case; upper case is read too."""

NIFTI_SUFFIXES = (".nii", ".nii.gz")
"""Suffixes of NIfTI volumes, in lower case; upper case is read too."""


def is_image(path: Path) -> bool:
    """Whether the name ends as a slice's does."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_nifti(path: Path) -> bool:
    """Whether the name ends in .nii or .nii.gz."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)
