"""The kaggle_3m layout: a folder a patient, with `<stem>_<k>.tif` and `<stem>_<k>_mask.tif` for every slice k.

Published with Buda, Saha, Mazurowski, "Association of genomic subtypes of lower-grade gliomas with shape features
automatically extracted by a deep learning algorithm", Computers in Biology and Medicine 109, 2019.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wcr_med.volumes.images import check_same_size, read_mask, stack_rgb
from wcr_med.volumes.names import TIFF_SUFFIXES, own_name
from wcr_med.volumes.volume import Array, FileError, Volume

_SLICE_NAME = re.compile(r"(?P<series>.+)_(?P<number>\d+)(?P<mask>_mask)?\.tiff?", re.IGNORECASE | re.ASCII)
_FOLDER_NAME = re.compile(r"(?P<patient>TCGA_(?P<institution>[A-Z0-9]{2})_[A-Z0-9]+)(?:_\d{8})?", re.ASCII)


class SlicePair(NamedTuple):
    """The files of one slice; `mask` is `None` where there is none."""

    image: Path
    mask: Path | None


@dataclass(frozen=True, kw_only=True)
class FolderScan:
    """What the names in a patient's folder say.

    Attributes:
        slices: slice number -> files, in ascending order of the number.
        faults: whatever does not fit the layout; empty for a sound folder. Missing masks are no fault here.
    """

    slices: dict[int, SlicePair]
    faults: tuple[FileError, ...]


def slice_number(path: Path) -> int:
    """The slice number in a file name: 12 for `TCGA_CS_4942_19970222_12_mask.tif`.

    Raises:
        FileError: the name holds none.
    """
    return int(_parse(path)["number"])


def patient_and_institution(folder_name: str) -> tuple[str, str]:
    """Patient id and institution from a folder name.

    `TCGA_CS_4942_19970222` gives ("TCGA_CS_4942", "CS"): the date is that of the scan, so two scans of one patient have
    one patient id. Any other name is the patient id itself, of institution "unknown".
    """
    match = _FOLDER_NAME.fullmatch(folder_name)
    return (match["patient"], match["institution"]) if match else (folder_name, "unknown")


def scan_folder(folder: Path) -> FolderScan:
    """Pair images and masks by their names, without opening them, and collect every fault instead of the first.

    Files that are not TIFFs and hidden files are ignored.

    Raises:
        FileError: the folder is missing or cannot be listed.
    """
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    series: dict[str, Path] = {}
    faults: list[FileError] = []
    for path in _tiff_files(folder):
        try:
            match = _parse(path)
        except FileError as fault:
            faults.append(fault)
            continue
        series.setdefault(match["series"], path)
        group, number = masks if match["mask"] else images, int(match["number"])
        if number in group:
            other = group[number].name
            faults.append(FileError(path, "repeated-slice", f"slice {number} is also in {other}; remove one of them"))
        else:
            group[number] = path
    if len(series) > 1:
        first, second = list(series)[:2]
        problem = f"belongs to series {second}, other files to {first}; give each series a folder of its own"
        faults.append(FileError(series[second], "mixed-series", problem))
    orphans = [masks[number] for number in sorted(masks.keys() - images.keys())]
    faults.extend(FileError(path, "missing-image", "a mask without its image; restore the image") for path in orphans)
    if not images:
        faults.append(FileError(folder, "no-slices", "holds no slices named <name>_<number>.tif; remove or fill it"))
    slices = {number: SlicePair(images[number], masks.get(number)) for number in sorted(images)}
    return FolderScan(slices=slices, faults=tuple(faults))


def list_slices(folder: Path) -> tuple[SlicePair, ...]:
    """Image and mask files of a patient's folder, sorted by slice number as a number: 2 before 10.

    Raises:
        FileError: the folder is missing, holds no slices, or holds names that do not fit the layout.
    """
    scan = scan_folder(folder)
    if scan.faults:
        raise scan.faults[0]
    return tuple(scan.slices.values())


def read_kaggle_patient(
    folder: Path,
    *,
    with_mask: bool,
    spacing_mm: tuple[float, float, float] | None = None,
    scratch: Path | None = None,
) -> Volume:
    """Read all slices of one patient.

    Args:
        folder: the patient's folder; its name gives the patient id.
        with_mask: read the masks too; then every slice needs one.
        spacing_mm: between slices, rows and columns, positive: the TIFFs hold none, so the user says it, or nobody.
        scratch: folder for the pixels of a large volume; see `wcr_med.volumes.scratch`.

    Returns:
        A volume with uint8 RGB images (pre-contrast, FLAIR, post-contrast).

    Raises:
        FileError: a file is missing, damaged, of another type or size, or a mask holds other values than 0 and 255.
    """
    pairs = list_slices(folder)
    image_SHWC = stack_rgb([pair.image for pair in pairs], scratch=scratch)
    masks = [_mask_of(pair, image_HWC) for pair, image_HWC in zip(pairs, image_SHWC, strict=True)] if with_mask else []
    return Volume(
        patient_id=patient_and_institution(own_name(folder))[0],
        image_SHWC=image_SHWC,
        mask_SHW=np.stack(masks) if with_mask else None,
        spacing_mm=spacing_mm,
        names=tuple(pair.image.stem for pair in pairs),
        nifti=None,
    )


def missing_mask(image: Path) -> FileError:
    """The fault of a slice without a mask."""
    return FileError(
        image, "missing-mask", f"has no mask {image.stem}_mask{image.suffix}; restore it (all 0: no lesion)"
    )


def _mask_of(pair: SlicePair, image_HWC: Array) -> Array:
    if pair.mask is None:
        raise missing_mask(pair.image)
    mask_HW = read_mask(pair.mask)
    check_same_size(pair.mask, mask_HW, pair.image, image_HWC)
    return mask_HW


def _parse(path: Path) -> re.Match[str]:
    match = _SLICE_NAME.fullmatch(path.name)
    if match is None:
        raise FileError(path, "bad-name", "no slice number in the name; name it <name>_<number>.tif, or remove it")
    return match


def _tiff_files(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        raise FileError(folder, "missing-file", "no such folder; give the path of a patient's folder") from None
    except OSError as error:
        raise FileError(
            folder, "unreadable", f"cannot be listed ({error.strerror}); give a patient's folder"
        ) from error
    return [path for path in entries if path.suffix.lower() in TIFF_SUFFIXES and not path.name.startswith(".")]
