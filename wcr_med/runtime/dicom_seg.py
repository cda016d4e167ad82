"""A mask as a DICOM segmentation object that refers to the images it was made from.

Needs the extra: pip install 'wcr-med[dicom]'.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes

from wcr_med import __version__
from wcr_med.files import atomic_path
from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.dicom_series import list_series, sort_series
from wcr_med.volumes.orientation import from_display

Array = npt.NDArray[Any]

_LABEL = "Lesion"
_SERIES_NUMBER = 9900  # above those of scanners, so that viewers list it last
_DESCRIPTION = "Research use only, not a medical device"
# May be empty, but have to be there; anonymised files often lack them.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def write_dicom_seg(volume: Volume, mask_SHW: Array, path: Path, *, model: str) -> None:
    """Write a mask as one binary segment on the grid of the first channel's series, whole or not at all.

    There is a frame for each slice, empty ones too: without them other readers take the frames that are left for
    neighbours, or know no distance of slices at all.

    Patient and study are those of the images, as the standard asks: the file is no more anonymous than they are.

    Args:
        volume: read by `wcr_med.volumes.dicom.read_dicom`.
        mask_SHW: bool or integer, on the volume's slices, rows and columns; above zero is lesion. May be empty.
        path: of the file to write.
        model: name of the model file, noted in the segment.

    Raises:
        FileError: the images lack what a segmentation must refer to.
        UserError: the folder cannot be written, or the disk is full.
        ValueError: the volume has no place in space, or the shapes differ.
    """
    if volume.nifti is None or not volume.references:
        raise ValueError("the volume's place in space is unknown")
    if mask_SHW.shape != volume.image_SHWC.shape[:3]:
        raise ValueError(f"result of shape {mask_SHW.shape} for an image of shape {volume.image_SHWC.shape}")
    (files,) = list_series(volume.references)
    first = sort_series(files)
    # (columns, rows, slices) to frames of rows and columns, in the order of the series.
    frames_SHW = np.ascontiguousarray(from_display(np.asarray(mask_SHW) > 0, volume.nifti.orientation_32).T)
    for image in first.images:
        _complete(image)
    try:
        segmentation = _segmentation(first.images, frames_SHW.astype(np.uint8), model)
    except Exception as error:  # damaged elements make the library fail in any way
        problem = f"cannot be referred to by a segmentation ({error}); export the images with whole headers"
        raise FileError(first.paths[0], "unreadable", problem) from error
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _complete(image: FileDataset) -> None:
    for keyword in _MAY_BE_EMPTY:
        if keyword not in image:
            setattr(image, keyword, "")


def _segmentation(images: Sequence[FileDataset], frames_SHW: Array, model: str) -> hd.seg.Segmentation:
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=_LABEL,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"wcr-med {model}"[:64],
            version=__version__,
            family=codes.DCM.ArtificialIntelligence,
        ),
    )
    return hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=frames_SHW,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="wcr-med",
        manufacturer_model_name=model[:64],
        software_versions=__version__,
        device_serial_number="none",
        content_label="LESION",
        content_description=_DESCRIPTION,
        series_description=f"{_LABEL}, automatic. {_DESCRIPTION}",
        omit_empty_frames=False,
    )
