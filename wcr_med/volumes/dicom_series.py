"""The series of a DICOM study: which files belong together, what their headers say, and where they lie in space.

Only the headers' own geometry counts, never file names: slices are sorted along the normal of their plane, and their
distance is that of their positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import MRImageStorage

from wcr_med.volumes.dicom_values import integer, number, numbers, text
from wcr_med.volumes.volume import MAX_VOXELS, Array, FileError

_SAME_DIRECTION = 1e-3  # of direction cosines
_SAME_STEP = 0.05  # share of a step, or of a pixel, by which positions may be off: headers are rounded
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_NOT_IMAGES = ("SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTDOSE", "RTPLAN", "DOC", "OT", "FID", "RWV")


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """One file.

    Attributes:
        path: of the file.
        image: its header.
    """

    path: Path
    image: FileDataset

    def text(self, keyword: str) -> str:
        """An element as text, "" where there is none; see `wcr_med.volumes.dicom_values.text`."""
        return text(self.path, self.image, keyword)


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesFiles:
    """The files of one series, in no order and not yet looked at.

    Attributes:
        uid: SeriesInstanceUID.
        slices: its files.
    """

    uid: str
    slices: list[Slice] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where its first file lies."""
        return self.slices[0].path.parent

    @property
    def number(self) -> str:
        """SeriesNumber as text, "" where there is none."""
        return self.slices[0].text("SeriesNumber")

    @property
    def description(self) -> str:
        """SeriesDescription, or else ProtocolName; "" where there is neither."""
        return self.slices[0].text("SeriesDescription") or self.slices[0].text("ProtocolName")

    @property
    def label(self) -> str:
        """Number and description, for messages."""
        return f"{self.number or '?'} {self.description}".strip()


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The images of one series, sorted.

    Attributes:
        paths: of the files, along the normal of their plane.
        images: their headers.
        affine_44: float64, (column, row, slice) to millimetres in RAS+.
        uid: SeriesInstanceUID.
        label: number and description, for messages.
        frame: FrameOfReferenceUID.
    """

    paths: tuple[Path, ...]
    images: tuple[FileDataset, ...]
    affine_44: Array
    uid: str
    label: str
    frame: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return int(self.images[0].Columns), int(self.images[0].Rows), len(self.images)


def list_series(paths: Sequence[Path]) -> tuple[SeriesFiles, ...]:
    """The series of one study, by folder and number. Files that are no images (segmentations, reports) are left out.

    Args:
        paths: of the study's files. Pixels are not read.

    Raises:
        FileError: a file cannot be read, or is of another study than the first one.
        ValueError: no paths.
    """
    if not paths:
        raise ValueError("read_dicom needs at least one file")
    found: dict[str, SeriesFiles] = {}
    study = first = None
    for path in paths:
        one = Slice(path=path, image=open_file(path, pixels=False))
        if one.text("Modality") in _NOT_IMAGES:
            continue
        uid = text(path, one.image, "SeriesInstanceUID", needed=True)
        of = text(path, one.image, "StudyInstanceUID", needed=True)
        study, first = study or of, first or path
        if of != study:
            raise FileError(path, "mixed-series", f"of another study than {first.name}; give one study a folder")
        found.setdefault(uid, SeriesFiles(uid=uid)).slices.append(one)
    if not found:
        raise FileError(paths[0].parent, "no-slices", "holds no DICOM images; give the folder of the scan")
    return tuple(sorted(found.values(), key=lambda series: (_as_number(series.number), series.uid)))


def sort_series(files: SeriesFiles) -> Series:
    """Sort one series along its normal, after all that may be wrong with its images and its geometry.

    Raises:
        FileError: see `wcr_med.volumes.dicom.read_dicom`.
    """
    for one in files.slices:
        _require_image(one)
    first = files.slices[0]
    row, column = _directions(first)
    normal = np.cross(row, column)
    frame = text(first.path, first.image, "FrameOfReferenceUID", needed=True)
    for one in files.slices:
        if text(one.path, one.image, "FrameOfReferenceUID", needed=True) != frame:
            problem = f"of another frame of reference than {first.path.name}; give one series a folder"
            raise FileError(one.path, "mixed-series", problem)
        if not np.allclose(np.concatenate(_directions(one)), [*row, *column], atol=_SAME_DIRECTION):
            problem = f"of another orientation than {first.path.name}; give one orientation a folder"
            raise FileError(one.path, "bad-geometry", problem)
        if _grid(one) != _grid(first):
            problem = f"of another grid than {first.path.name}; give one series a folder"
            raise FileError(one.path, "wrong-shape", problem)
    positions = {id(one): _position(one) for one in files.slices}
    ordered = sorted(files.slices, key=lambda one: float(positions[id(one)] @ normal))
    positions_S3 = np.array([positions[id(one)] for one in ordered])
    rows, columns, _, _ = _grid(first)
    row_mm, column_mm = numbers(first.path, first.image, "PixelSpacing", 2)
    if rows * columns * len(ordered) > MAX_VOXELS:
        raise FileError(first.path, "too-large", f"a series of {len(ordered)} such slices is more than any scan holds")
    step_mm = _step(ordered, positions_S3, normal, pixel_mm=min(row_mm, column_mm))
    lps = np.stack([row * column_mm, column * row_mm, normal * step_mm], axis=1)
    affine_44 = np.eye(4)
    affine_44[:3, :3], affine_44[:3, 3] = _LPS_TO_RAS @ lps, _LPS_TO_RAS @ positions_S3[0]
    return Series(
        paths=tuple(one.path for one in ordered),
        images=tuple(one.image for one in ordered),
        affine_44=affine_44,
        uid=files.uid,
        label=files.label,
        frame=frame,
    )


def check_same_grid(series: Series, reference: Series) -> None:
    """Refuse a series whose voxels do not lie where those of `reference` do.

    Raises:
        FileError: frames of reference, shapes or places differ; the message names both series.
    """
    if series.frame != reference.frame:
        problem = f"series {series.label} and {reference.label} have different frames of reference; register them"
        raise FileError(series.paths[0], "mixed-series", problem)
    if series.shape != reference.shape:
        sizes = " and ".join("x".join(map(str, entry.shape)) for entry in (series, reference))
        problem = f"series {series.label} and {reference.label} have {sizes} voxels; resample them to one grid"
        raise FileError(series.paths[0], "wrong-shape", problem)
    corners_48 = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)], dtype=np.float64).T
    corners_48[:3] *= np.array(reference.shape)[:, None] - 1
    apart_mm = np.abs((series.affine_44 - reference.affine_44) @ corners_48)[:3].max()
    if apart_mm > _SAME_STEP * np.linalg.norm(reference.affine_44[:3, :3], axis=0).min():
        problem = f"series {series.label} lies {apart_mm:.3g} mm away from {reference.label}; register and resample it"
        raise FileError(series.paths[0], "bad-geometry", problem)


def open_file(path: Path, *, pixels: bool) -> FileDataset:
    """Read a file with its pixels, or its header alone.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except FileNotFoundError:
        raise FileError(path, "missing-file", "no such file; restore it") from None
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise FileError(path, "unreadable", f"cannot be read as DICOM ({error}); export it again") from error


def _require_image(one: Slice) -> None:
    path, image = one.path, one.image
    kind = one.text("PhotometricInterpretation")
    if integer(path, image, "SamplesPerPixel", empty=1) != 1 or kind != "MONOCHROME2":
        problem = f"{kind or 'unknown'} pixels, expected MONOCHROME2; give the scan, not a picture of it"
        raise FileError(path, "wrong-type", problem)
    if one.text("SOPClassUID") != MRImageStorage or integer(path, image, "NumberOfFrames", empty=1) != 1:
        raise FileError(path, "wrong-type", "not a single-frame MR image; remove it, or convert it to single frames")
    if integer(path, image, "Rows") < 1 or integer(path, image, "Columns") < 1:
        raise FileError(path, "wrong-shape", "Rows or Columns below 1; export it again")


def _as_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("inf")


def _step(ordered: Sequence[Slice], positions_S3: Array, normal: Array, *, pixel_mm: float) -> float:
    """Millimetres from slice to slice; of a single slice its thickness."""
    first = ordered[0]
    if len(ordered) == 1:
        distance = number(first.path, first.image, "SpacingBetweenSlices", empty=0)
        thickness = distance or number(first.path, first.image, "SliceThickness", empty=0)
        if not thickness > 0:
            raise FileError(first.path, "bad-geometry", "a single slice without SliceThickness; give the whole series")
        return thickness
    along_S = positions_S3 @ normal
    steps = np.diff(along_S)
    step_mm = float(np.median(steps))
    for place, step in enumerate(steps):
        after, before = ordered[place + 1].path, ordered[place].path
        if step <= _SAME_STEP * max(step_mm, pixel_mm):
            raise FileError(after, "repeated-slice", f"lies where {before.name} does; remove one of them")
        if abs(step - step_mm) > _SAME_STEP * step_mm:
            problem = f"lies {step:.3g} mm after {before.name}, other slices {step_mm:.3g} mm apart"
            raise FileError(after, "bad-geometry", f"{problem}; restore the missing slices, or resample the scan")
    mean_step_mm = float(steps.mean())
    expected_S3 = positions_S3[0] + np.outer(np.arange(len(ordered)) * mean_step_mm, normal)
    sideways_S = np.linalg.norm(
        (positions_S3 - expected_S3) - np.outer((positions_S3 - expected_S3) @ normal, normal), axis=1
    )
    if sideways_S.max() > _SAME_STEP * pixel_mm:
        worst = ordered[int(sideways_S.argmax())].path
        problem = f"lies {sideways_S.max():.3g} mm beside the line of the other slices; resample the scan"
        raise FileError(worst, "bad-geometry", problem)
    return mean_step_mm


def _directions(one: Slice) -> tuple[Array, Array]:
    cosines = np.array(numbers(one.path, one.image, "ImageOrientationPatient", 6))
    row, column = cosines[:3], cosines[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > _SAME_DIRECTION or abs(row @ column) > _SAME_DIRECTION:
        problem = "ImageOrientationPatient: rows and columns do not stand at right angles; export it again"
        raise FileError(one.path, "bad-geometry", problem)
    return row / lengths[0], column / lengths[1]


def _position(one: Slice) -> Array:
    return np.array(numbers(one.path, one.image, "ImagePositionPatient", 3))


def _grid(one: Slice) -> tuple[int, int, float, float]:
    """Rows, columns, and the millimetres between them."""
    row_mm, column_mm = numbers(one.path, one.image, "PixelSpacing", 2)
    if not (row_mm > 0 and column_mm > 0):
        problem = f"PixelSpacing is {row_mm:g} and {column_mm:g} mm, expected positive; export it again"
        raise FileError(one.path, "bad-geometry", problem)
    return (
        integer(one.path, one.image, "Rows"),
        integer(one.path, one.image, "Columns"),
        round(row_mm, 4),
        round(column_mm, 4),
    )
