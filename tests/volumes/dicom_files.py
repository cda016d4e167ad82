"""DICOM series made for tests."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
STUDY, FRAME = generate_uid(), generate_uid()


def write_series(
    folder: Path,
    image_SHW: np.ndarray,
    *,
    number: int | None = 1,
    description: str = "FLAIR",
    orientation: tuple[float, ...] = AXIAL,
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0),
    step_mm: float = 3.0,
    pixel_mm: tuple[float, float] = (0.5, 0.75),
    series: str | None = None,
    **changes,
) -> list[Path]:
    """One file a slice, named against the order of the slices; `changes` replace attributes of every file."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    paths = []
    for place, image_HW in enumerate(image_SHW):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.FrameOfReferenceUID, image.SeriesInstanceUID = STUDY, FRAME, series
        image.PatientID, image.Modality, image.SeriesDescription = "anonymous", "MR", description
        if number is not None:
            image.SeriesNumber = number
        image.InstanceNumber = 1
        image.ImageOrientationPatient = list(orientation)
        image.ImagePositionPatient = [float(value) for value in np.array(origin) + place * step_mm * normal]
        image.PixelSpacing, image.SliceThickness = list(pixel_mm), step_mm
        image.Rows, image.Columns = image_HW.shape
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.PixelData = image_HW.astype("<u2").tobytes()
        for name, value in changes.items():
            setattr(image, name, value)
        path = folder / f"{number}-{len(image_SHW) - place:03d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def change(path: Path, **changes) -> None:
    """Replace attributes of a file; `None` removes one."""
    image = pydicom.dcmread(path)
    for name, value in changes.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    image.save_as(path)
