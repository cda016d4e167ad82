import importlib.util

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

import highdicom as hd
import pydicom
from pydicom.uid import generate_uid

from tests.volumes.dicom_files import AXIAL, CORONAL, change, write_series
from wcr_med.runtime import Segmenter
from wcr_med.runtime.dicom_seg import write_dicom_seg
from wcr_med.runtime.finding import find_sources
from wcr_med.runtime.infer import infer
from wcr_med.volumes.choice import choose_channels
from wcr_med.volumes.dicom import read_dicom

RNG = np.random.default_rng(0)
IMAGE_SHW = RNG.integers(0, 1000, (4, 16, 20)).astype(np.uint16)


def read(folder, *assignments):
    channels = choose_channels(None, max(1, len(assignments)), assignments)
    return read_dicom(sorted(folder.glob("*.dcm")), patient_id="p", channels=channels)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)])
def test_every_voxel_of_the_segment_lies_where_its_image_does(tmp_path, orientation):
    paths = write_series(tmp_path, IMAGE_SHW, orientation=orientation)
    volume = read(tmp_path)
    mask_SHW = (volume.image_SHWC[..., 0] > 700).astype(np.uint8)
    write_dicom_seg(volume, mask_SHW, tmp_path / "out" / "p.seg.dcm", model="a.onnx")

    segmentation = hd.seg.segread(tmp_path / "out" / "p.seg.dcm")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    frames = segmentation.get_pixels_by_source_instance(
        uids, assert_missing_frames_are_empty=True, combine_segments=True
    )
    np.testing.assert_array_equal(frames, IMAGE_SHW > 700)


def test_what_the_segmentation_says(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW)
    volume = read(tmp_path)
    write_dicom_seg(volume, np.ones(IMAGE_SHW.shape, bool), tmp_path / "p.seg.dcm", model="pruned-90.onnx")
    segmentation = hd.seg.segread(tmp_path / "p.seg.dcm")
    source = pydicom.dcmread(paths[0])
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.number_of_segments == 1
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert segmentation.SeriesInstanceUID != source.SeriesInstanceUID
    assert segmentation.PatientID == "anonymous"
    (segment,) = segmentation.SegmentSequence
    assert segment.SegmentLabel == "Lesion"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert "pruned-90.onnx" in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
    assert "Research use only" in segmentation.ContentDescription


def test_an_empty_mask_is_a_segmentation_too(tmp_path):
    write_series(tmp_path, IMAGE_SHW)
    write_dicom_seg(read(tmp_path), np.zeros(IMAGE_SHW.shape, np.uint8), tmp_path / "p.seg.dcm", model="m")
    segmentation = hd.seg.segread(tmp_path / "p.seg.dcm")
    assert segmentation.NumberOfFrames == len(IMAGE_SHW)
    assert not segmentation.pixel_array.any()


def test_another_shape_is_refused(tmp_path):
    write_series(tmp_path, IMAGE_SHW)
    with pytest.raises(ValueError, match="result of shape"):
        write_dicom_seg(read(tmp_path), np.zeros((1, 2, 3)), tmp_path / "p.seg.dcm", model="m")


def test_infer_segments_a_study_of_three_series(model_file, tmp_path):
    for number in (1, 2, 3):
        write_series(tmp_path / "study", IMAGE_SHW // number, number=number)
    which = [f"{number}={number}" for number in (1, 2, 3)]
    report = infer(model_file, [tmp_path / "study"], tmp_path / "out", threads=1, probabilities=True, channels=which)
    assert report.ok
    (segmented,) = report.volumes
    assert [path.name for path in segmented.mask_files] == ["study.seg.dcm"]
    volume = read(tmp_path / "study", *which)
    segmenter = Segmenter.from_file(model_file, threads=1)
    probability_SHW = segmenter.probability(volume.image_SHWC)
    frames = hd.seg.segread(segmented.mask_files[0])
    assert int(frames.pixel_array.sum()) == segmented.n_lesion_voxels == int(segmenter.binarise(probability_SHW).sum())
    assert segmented.lesion_ml == pytest.approx(segmented.n_lesion_voxels * 3.0 * 0.5 * 0.75 / 1000)
    written = nib.load(tmp_path / "out" / "study_probability.nii.gz")
    np.testing.assert_allclose(np.swapaxes(written.get_fdata(), 0, 2), probability_SHW, atol=1e-6)


def test_a_damaged_study_does_not_stop_the_others(model_file, tmp_path):
    for name in ("bad", "good"):
        study = generate_uid()
        for number in (1, 2, 3):
            folder = tmp_path / "studies" / name
            write_series(folder, IMAGE_SHW // number, number=number, StudyInstanceUID=study)
    change(tmp_path / "studies" / "bad" / "1-002.dcm", ImageOrientationPatient=list(CORONAL))
    which = [f"{number}={number}" for number in (1, 2, 3)]
    report = infer(model_file, [tmp_path / "studies"], tmp_path / "out", threads=1, channels=which)
    assert [volume.name for volume in report.volumes] == ["good"]
    assert "of another orientation" in report.failures[0].message


def test_sources_leave_segmentations_out(tmp_path):
    paths = write_series(tmp_path / "study", IMAGE_SHW)
    (tmp_path / "study" / "old.seg.dcm").write_bytes(b"")
    (source,) = find_sources([tmp_path / "study"]).sources
    assert (source.kind, source.name) == ("dicom", "study")
    assert set(source.files) == set(paths)


def test_a_single_file_is_not_a_series(tmp_path):
    paths = write_series(tmp_path, IMAGE_SHW)
    (failure,) = find_sources(paths[:1]).failures
    assert "give the folder of the whole series" in failure.message


@pytest.mark.parametrize("absent", ["pydicom", "highdicom"])
def test_without_the_extra_a_line_names_it(model_file, tmp_path, monkeypatch, absent):
    write_series(tmp_path / "study", IMAGE_SHW)
    real_find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == absent else real_find(name, *rest)
    )
    report = infer(model_file, [tmp_path / "study"], tmp_path / "out", threads=1)
    assert "pip install 'wcr-med[dicom]'" in report.failures[0].message
