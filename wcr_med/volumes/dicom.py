"""A folder of single-frame DICOM MR images as one volume, several series of a study as its channels.

Only the headers' own geometry counts, never file names: slices are sorted along the normal of their plane, and their
distance is that of their positions. Needs the extra: pip install 'wcr-med[dicom]'.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import MRImageStorage

from wcr_med.volumes.orientation import display_spacing_mm, to_display
from wcr_med.volumes.volume import Array, FileError, NiftiGeometry, Volume

_LOG = logging.getLogger(__name__)

_NEEDED = (
    "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient",
    "PixelSpacing", "Rows", "Columns",
)  # fmt: skip
_SAME_DIRECTION = 1e-3  # of direction cosines
_SAME_STEP = 0.05  # share of a step, or of a pixel, by which positions may be off: headers are rounded
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The images of one series, sorted.

    Attributes:
        paths: of the files, along the normal of their plane.
        images: the same, as read.
        affine_44: float64, (column, row, slice) to millimetres in RAS+.
    """

    paths: tuple[Path, ...]
    images: tuple[FileDataset, ...]
    affine_44: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return int(self.images[0].Columns), int(self.images[0].Rows), len(self.images)

    @property
    def label(self) -> str:
        """Number and description, for messages."""
        first = self.images[0]
        return f"{first.get('SeriesNumber', '?')} {first.get('SeriesDescription', '')}".strip()


def read_dicom(paths: Sequence[Path], *, patient_id: str) -> Volume:
    """Read the images of one study.

    Args:
        paths: of single-frame MR images, in any order. Series become channels by rising series number; which is which
            is logged.
        patient_id: names the volume; the headers' own name and number are not looked at.

    Returns:
        A volume in radiological axial order, with its place in space, so that results can be written as NIfTI too.
        Integers keep their dtype; rescaled values are float32.

    Raises:
        FileError: a file is damaged, compressed in a way that cannot be read here, no single-frame MR image, or of
            colour; positions leave a gap, stand twice or shear; orientations, studies or grids differ; or the order of
            the series is not known.
        ValueError: no paths.
    """
    found = read_series(paths)
    channels = [_voxels(series) for series in found]
    first = found[0]
    if len(found) > 1:
        _LOG.info("%s: channels are series %s", patient_id, ", ".join(series.label for series in found))
    geometry = _geometry(first)
    values = np.stack(channels, axis=-1)
    image_SHWC = np.ascontiguousarray(to_display(values, geometry.orientation_32))
    return Volume(
        patient_id=patient_id,
        image_SHWC=image_SHWC,
        mask_SHW=None,
        spacing_mm=display_spacing_mm(geometry.affine_44, geometry.orientation_32),
        names=tuple(str(number) for number in range(image_SHWC.shape[0])),
        nifti=geometry,
    )


def read_series(paths: Sequence[Path], *, pixels: bool = True) -> tuple[Series, ...]:
    """The series of one study by rising number, all on one grid; `pixels`: with their images, or headers alone.

    Raises:
        FileError: see `read_dicom`.
        ValueError: no paths.
    """
    if not paths:
        raise ValueError("read_dicom needs at least one file")
    groups: dict[str, list[tuple[Path, FileDataset]]] = {}
    study = None
    for path in paths:
        image = _read(path, pixels=pixels)
        study = study or (image.StudyInstanceUID, image.FrameOfReferenceUID)
        if (image.StudyInstanceUID, image.FrameOfReferenceUID) != study:
            problem = f"of another study or frame of reference than {paths[0].name}; give one study a folder"
            raise FileError(path, "mixed-series", problem)
        groups.setdefault(image.SeriesInstanceUID, []).append((path, image))
    found = [_sort(group) for group in groups.values()]
    if len(found) == 1:
        return (found[0],)
    numbers = [series.images[0].get("SeriesNumber") for series in found]
    if None in numbers or len(set(numbers)) < len(numbers):
        problem = (
            "series without a number of their own, so the order of channels is not known; give one series a folder"
        )
        raise FileError(paths[0].parent, "ambiguous", problem)
    found.sort(key=lambda series: int(series.images[0].SeriesNumber))
    for series in found[1:]:
        _check_same_grid(series, found[0])
    return tuple(found)


def _read(path: Path, *, pixels: bool) -> FileDataset:
    try:
        image = pydicom.dcmread(path, stop_before_pixels=not pixels)
    except FileNotFoundError:
        raise FileError(path, "missing-file", "no such file; restore it") from None
    except Exception as error:  # damaged bytes make the decoder fail in any way
        raise FileError(path, "unreadable", f"cannot be read as DICOM ({error}); export it again") from error
    if int(image.get("SamplesPerPixel", 1)) != 1 or image.get("PhotometricInterpretation") != "MONOCHROME2":
        kind = image.get("PhotometricInterpretation", "unknown")
        raise FileError(path, "wrong-type", f"{kind} pixels, expected MONOCHROME2; give the scan, not a picture of it")
    if image.get("SOPClassUID") != MRImageStorage or int(image.get("NumberOfFrames", 1) or 1) != 1:
        raise FileError(path, "wrong-type", "not a single-frame MR image; remove it, or convert it to single frames")
    for keyword in _NEEDED:
        if image.get(keyword) in (None, ""):
            raise FileError(path, "bad-geometry", f"holds no {keyword}; export it again with its whole header")
    return image


def _sort(group: Sequence[tuple[Path, FileDataset]]) -> Series:
    """Sort one series along its normal, after all that may be wrong with its geometry."""
    first_path, first = group[0]
    row, column = _directions(first_path, first)
    normal = np.cross(row, column)
    for path, image in group:
        if not np.allclose(np.concatenate(_directions(path, image)), [*row, *column], atol=_SAME_DIRECTION):
            problem = f"of another orientation than {first_path.name}; give one orientation a folder"
            raise FileError(path, "bad-geometry", problem)
        if _grid(image) != _grid(first):
            raise FileError(path, "wrong-shape", f"of another grid than {first_path.name}; give one series a folder")
    place = {id(image): _position(path, image) for path, image in group}
    ordered = sorted(group, key=lambda entry: float(place[id(entry[1])] @ normal))
    positions_S3 = np.array([place[id(image)] for _, image in ordered])
    row_mm, column_mm = (float(size) for size in first.PixelSpacing)
    step_mm = _step(ordered, positions_S3, normal, pixel_mm=min(row_mm, column_mm))
    lps = np.stack([row * column_mm, column * row_mm, normal * step_mm], axis=1)
    affine_44 = np.eye(4)
    affine_44[:3, :3], affine_44[:3, 3] = _LPS_TO_RAS @ lps, _LPS_TO_RAS @ positions_S3[0]
    return Series(
        paths=tuple(path for path, _ in ordered), images=tuple(image for _, image in ordered), affine_44=affine_44
    )


def _step(ordered: Sequence[tuple[Path, FileDataset]], positions_S3: Array, normal: Array, *, pixel_mm: float) -> float:
    """Millimetres from slice to slice; of a single slice its thickness."""
    path, image = ordered[0]
    if len(ordered) == 1:
        thickness = float(image.get("SpacingBetweenSlices") or image.get("SliceThickness") or 0)
        if not thickness > 0:
            raise FileError(path, "bad-geometry", "a single slice without SliceThickness; give the whole series")
        return thickness
    along_S = positions_S3 @ normal
    steps = np.diff(along_S)
    step_mm = float(np.median(steps))
    for place, step in enumerate(steps):
        after = ordered[place + 1][0]
        if step <= _SAME_STEP * max(step_mm, pixel_mm):
            raise FileError(after, "repeated-slice", f"lies where {ordered[place][0].name} does; remove one of them")
        if abs(step - step_mm) > _SAME_STEP * step_mm:
            problem = f"lies {step:.3g} mm after {ordered[place][0].name}, other slices {step_mm:.3g} mm apart"
            raise FileError(after, "bad-geometry", f"{problem}; restore the missing slices, or resample the scan")
    mean_step_mm = float(steps.mean())
    expected_S3 = positions_S3[0] + np.outer(np.arange(len(ordered)) * mean_step_mm, normal)
    sideways_S = np.linalg.norm(
        (positions_S3 - expected_S3) - np.outer((positions_S3 - expected_S3) @ normal, normal), axis=1
    )
    if sideways_S.max() > _SAME_STEP * pixel_mm:
        worst = ordered[int(sideways_S.argmax())][0]
        problem = f"lies {sideways_S.max():.3g} mm beside the line of the other slices; resample the scan"
        raise FileError(worst, "bad-geometry", problem)
    return mean_step_mm


def _directions(path: Path, image: FileDataset) -> tuple[Array, Array]:
    cosines = np.array([float(value) for value in image.ImageOrientationPatient])
    if cosines.shape != (6,) or not np.isfinite(cosines).all():
        raise FileError(path, "bad-geometry", "ImageOrientationPatient is not six numbers; export it again")
    row, column = cosines[:3], cosines[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > _SAME_DIRECTION or abs(row @ column) > _SAME_DIRECTION:
        raise FileError(path, "bad-geometry", "rows and columns do not stand at right angles; export it again")
    return row / lengths[0], column / lengths[1]


def _position(path: Path, image: FileDataset) -> Array:
    position = np.array([float(value) for value in image.ImagePositionPatient])
    if position.shape != (3,) or not np.isfinite(position).all():
        raise FileError(path, "bad-geometry", "ImagePositionPatient is not three numbers; export it again")
    spacing = [float(size) for size in image.PixelSpacing]
    if len(spacing) != 2 or not all(0 < size < np.inf for size in spacing):
        raise FileError(path, "bad-geometry", f"pixels of {spacing} mm, expected positive; export it again")
    return position


def _grid(image: FileDataset) -> tuple[float, ...]:
    return int(image.Rows), int(image.Columns), *(round(float(size), 4) for size in image.PixelSpacing)


def _check_same_grid(series: Series, reference: Series) -> None:
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


def _voxels(series: Series) -> Array:
    """Columns, rows, slices."""
    slices = [_pixels(path, image) for path, image in zip(series.paths, series.images, strict=True)]
    return np.stack([values_HW.T for values_HW in slices], axis=-1)


def _pixels(path: Path, image: FileDataset) -> Array:
    try:
        values_HW: Array = image.pixel_array
    except Exception as error:  # no decoder for the compression, or too few bytes
        problem = f"its pixels cannot be read ({error}); export it again, uncompressed"
        raise FileError(path, "unreadable", problem) from error
    slope, intercept = float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))
    if (slope, intercept) != (1.0, 0.0):
        values_HW = (values_HW * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    if values_HW.dtype.kind == "f" and not np.isfinite(values_HW).all():
        raise FileError(path, "not-finite", "holds NaN or infinite pixels after rescaling; export it again")
    return values_HW


def _geometry(series: Series) -> NiftiGeometry:
    """The series' place in space, with a NIfTI header made for it."""
    header = nib.Nifti1Header()
    header.set_data_shape(series.shape)
    header.set_xyzt_units("mm")
    header.set_zooms(np.linalg.norm(series.affine_44[:3, :3], axis=0))
    header.set_qform(series.affine_44, code="scanner")
    header.set_sform(series.affine_44, code="scanner")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return NiftiGeometry(
        affine_44=series.affine_44,
        shape=series.shape,
        orientation_32=nib.orientations.io_orientation(series.affine_44),
        header=header.binaryblock,
    )
