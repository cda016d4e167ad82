#!/bin/sh
# A DICOM segmentation without its empty frames, which highdicom writes by default, is misplaced by other readers.
#
# Versions: highdicom 0.28.2, pydicom 3.0.2, SimpleITK 2.5.7 (GDCM), dcm2niix 1.0.20260724.
# Input: an axial series of 8 slices 3 mm apart; a mask on slices 1, 2 and 6 alone, 12 voxels on each.
# Expected by most: a reader places each frame by its own PlanePositionSequence, so that leaving empty frames out is safe.
# Seen: with omit_empty_frames=True SimpleITK takes 1 mm for the distance of slices, and dcm2niix closes the gap.
#       With omit_empty_frames=False both readers place every voxel.
#
# Output seen:
#   omit_empty_frames=True   SimpleITK spacing 1, 1, 1, 12 of 36 voxels in place; dcm2niix 24 of 36
#   omit_empty_frames=False  SimpleITK spacing 1, 1, 3, 36 of 36 voxels in place; dcm2niix 36 of 36
#
# Exits with 1 if that changes. Needs Python 3.11 or later and the network.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    highdicom==0.28.2 pydicom==3.0.2 SimpleITK==2.5.7 dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import dcm2niix
import highdicom as hd
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

study, frame, series = generate_uid(), generate_uid(), generate_uid()
ORIGIN, STEP = np.array([-10.0, -20.0, 30.0]), 3.0


def image(place: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.FrameOfReferenceUID, one.SeriesInstanceUID = study, frame, series
    one.PatientName = one.PatientBirthDate = one.PatientSex = one.StudyID = one.StudyDate = one.StudyTime = ""
    one.AccessionNumber = one.ReferringPhysicianName = ""
    one.PatientID, one.Modality, one.SeriesNumber, one.InstanceNumber = "p", "MR", 1, place + 1
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.ImagePositionPatient = [float(value) for value in ORIGIN + [0, 0, STEP * place]]
    one.PixelSpacing, one.SliceThickness = [1.0, 1.0], STEP
    one.Rows, one.Columns = 18, 20
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.PixelData = np.ones((18, 20), "<u2").tobytes()
    return one


images = [image(place) for place in range(8)]
mask = np.zeros((8, 18, 20), np.uint8)
mask[1, 2:4, 3:9] = mask[2, 3:5, 4:10] = mask[6, 9:11, 10:16] = 1
truth = {tuple(np.round(ORIGIN + [column, row, STEP * place], 2)) for place, row, column in np.argwhere(mask)}


def write(path: Path, omit: bool) -> None:
    description = hd.seg.SegmentDescription(
        segment_number=1, segment_label="Lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    hd.seg.Segmentation(
        source_images=images, pixel_array=mask, segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description], series_instance_uid=hd.UID(), series_number=2, sop_instance_uid=hd.UID(),
        instance_number=1, manufacturer="m", manufacturer_model_name="m", software_versions="1",
        device_serial_number="1", omit_empty_frames=omit,
    ).save_as(path)


def in_place(points) -> int:
    return len(truth & {tuple(np.round(point, 2) + 0.0) for point in points})


def by_itk(path: Path):
    read = sitk.ReadImage(str(path))
    places = np.argwhere(sitk.GetArrayFromImage(read) > 0)[:, ::-1]
    return in_place(read.TransformIndexToPhysicalPoint(place.tolist()) for place in places), read.GetSpacing()


def by_dcm2niix(path: Path) -> int:
    subprocess.run([dcm2niix.bin, "-z", "n", "-b", "n", "-f", "seg", "-o", ".", str(path.parent)], check=True,
                   stdout=subprocess.DEVNULL)
    (file,) = Path().glob("seg*.nii")
    read = nib.load(file)
    values = np.asarray(read.dataobj).reshape(read.shape[:3])
    file.unlink()
    return in_place((read.affine @ [*place, 1])[:3] * [-1, -1, 1] for place in np.argwhere(values > 0))


seen = []
for omit in (True, False):
    path = Path("omitted" if omit else "all") / "seg.dcm"
    path.parent.mkdir()
    write(path, omit)
    itk, spacing = by_itk(path)
    nii = by_dcm2niix(path)
    shown = ", ".join(f"{size:g}" for size in spacing)
    seen.append((shown, itk, nii))
    print(f"omit_empty_frames={omit!s:5}  SimpleITK spacing {shown}, {itk} of 36 voxels in place; dcm2niix {nii} of 36")
expected = [("1, 1, 1", 12, 24), ("1, 1, 3", 36, 36)]
sys.exit(0 if seen == expected else f"changed: expected {expected}")
PYTHON
