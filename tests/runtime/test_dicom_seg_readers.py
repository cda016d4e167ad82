"""DICOM segmentations, read by programs that did not write them: every voxel lies where the image's does."""

import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from tests.volumes.dicom_files import AXIAL, CORONAL, write_series
from wcr_med.runtime.dicom_seg import write_dicom_seg
from wcr_med.volumes.choice import choose_channels
from wcr_med.volumes.dicom import read_dicom

SHAPE = (8, 18, 20)  # slices, rows, columns
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
GEOMETRIES = {
    "axial": {},
    "sagittal": {"orientation": SAGITTAL},
    "coronal": {"orientation": CORONAL},
    "oblique": {"orientation": OBLIQUE},
    "gap": {"step_mm": 7.5, "SliceThickness": 5.0},
    "reversed": {"orientation": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)},
    "anisotropic": {"step_mm": 1.5, "pixel_mm": (0.4, 1.1)},
}


@pytest.fixture(params=GEOMETRIES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A segmentation whose lesion slices have a gap, and the places of its voxels in millimetres, RAS."""
    options = {"orientation": AXIAL, **GEOMETRIES[request.param]}
    rng = np.random.default_rng(0)
    write_series(tmp_path / "images", rng.integers(1, 900, SHAPE).astype(np.uint16), **options)
    files = sorted((tmp_path / "images").glob("*.dcm"))
    volume = read_dicom(files, patient_id="p", channels=choose_channels(("FLAIR",), 1))
    mask_SHW = np.zeros(volume.image_SHWC.shape[:3], np.uint8)
    slices, rows, columns = (size // 2 for size in mask_SHW.shape)
    mask_SHW[1, 2:5, 3:7] = mask_SHW[slices + 1, rows : rows + 3, columns : columns + 4] = 1
    path = tmp_path / "seg" / "p.seg.dcm"
    write_dicom_seg(volume, mask_SHW, path, model="m.onnx")
    assert volume.nifti is not None
    from wcr_med.volumes.orientation import from_display

    places = np.argwhere(from_display(mask_SHW, volume.nifti.orientation_32))
    return path, _moved(volume.nifti.affine_44, places)


def _moved(affine_44: np.ndarray, places_N3: np.ndarray) -> np.ndarray:
    points_N3 = places_N3 @ affine_44[:3, :3].T + affine_44[:3, 3]
    return points_N3[np.lexsort(points_N3.round(2).T)]


def test_simpleitk_finds_every_voxel_in_its_place(written: tuple[Path, np.ndarray]) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="a reader of its own: pip install SimpleITK")
    path, expected_N3 = written
    image = sitk.ReadImage(str(path))
    places = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    lps = np.array([image.TransformIndexToPhysicalPoint([int(value) for value in place]) for place in places])
    found_N3 = lps * [-1, -1, 1]
    np.testing.assert_allclose(found_N3[np.lexsort(found_N3.round(2).T)], expected_N3, atol=0.02)


def test_dcm2niix_finds_every_voxel_in_its_place(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    program = pytest.importorskip("dcm2niix", reason="a reader of its own: pip install dcm2niix").bin
    path, expected_N3 = written
    command = [program, "-z", "n", "-b", "n", "-f", "seg", "-o", str(tmp_path), str(path.parent)]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = tmp_path.glob("seg*.nii")
    image = nib.load(file)
    values = np.asarray(image.dataobj).reshape(image.shape[:3])
    np.testing.assert_allclose(_moved(image.affine, np.argwhere(values > 0)), expected_N3, atol=0.02)


def test_it_has_a_frame_for_each_slice(written: tuple[Path, np.ndarray]) -> None:
    import pydicom

    header = pydicom.dcmread(written[0])
    assert header.NumberOfFrames == SHAPE[0]
