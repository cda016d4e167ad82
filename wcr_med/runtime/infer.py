"""Files in, masks out: the work of `wcr-med infer`."""

import csv
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wcr_med.errors import UserError
from wcr_med.files import atomic_path, write_text
from wcr_med.progress import track
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.sources import DEFAULT_CHANNEL_FILES, Failure, Source, find_sources
from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.names import DICOM_MASK_SUFFIX

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)

TABLE = "volumes.csv"
"""The table of results in the output folder."""

_COLUMNS = ("volume", "slices", "slices_with_lesion", "lesion_voxels", "lesion_ml", "threshold", "seconds", "error")


@dataclass(frozen=True, kw_only=True)
class SegmentedVolume:
    """One volume that was segmented.

    Attributes:
        name: of the volume.
        mask_files: what was written, without probabilities; one for NIfTI and DICOM, one a slice otherwise.
        n_slices: slices of the volume.
        n_slices_with_lesion: slices with at least one lesion voxel.
        n_lesion_voxels: voxels of the mask.
        lesion_ml: their volume in millilitres; `None` where the files hold no spacing.
        seconds: from reading to writing.
    """

    name: str
    mask_files: tuple[Path, ...]
    n_slices: int
    n_slices_with_lesion: int
    n_lesion_voxels: int
    lesion_ml: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class InferenceReport:
    """What came of a call of `infer`.

    Attributes:
        volumes: segmented, in order.
        failures: inputs that could not be; the others were segmented all the same.
        table: the CSV file with a row for each of both.
    """

    volumes: tuple[SegmentedVolume, ...]
    failures: tuple[Failure, ...]
    table: Path

    @property
    def ok(self) -> bool:
        """Every input was segmented."""
        return not self.failures


def infer(
    model_path: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    batch_size: int = 16,
    threads: int = 0,
    probabilities: bool = False,
    progress: bool = False,
) -> InferenceReport:
    """Segment images with a model file and write masks in the input's own format and space.

    For slices, `out/<volume>/<slice>_mask.<suffix>` of 0 and 255; for NIfTI, `out/<volume>_mask.nii.gz` with the
    input's affine and orientation; for a folder of DICOM images `out/<volume>.seg.dcm`. `out/volumes.csv` has a row a
    volume. A volume that cannot be read is noted there and does not stop the others.

    Args:
        model_path: an ONNX file that `wcr-med export` wrote.
        inputs: kaggle_3m patient folders or a folder of them, folders of slices or of NIfTI files, PNG, TIFF or NIfTI
            files, folders of DICOM images; see `find_sources`.
        out: folder for the results; files of an earlier call are replaced.
        batch_size: slices a forward pass.
        threads: processor threads; 0 leaves the number to ONNX Runtime.
        probabilities: also write `*_probability`: float32 TIFF for slices, float32 NIfTI for NIfTI and DICOM.
        progress: show a bar, on a terminal alone.

    Raises:
        UserError: the model file cannot be used, there are no inputs, or results cannot be written (a full disk, no
            permission, or `out` lies in a folder that images are read from).
    """
    if not inputs:
        raise UserError("no images to segment; give folders or files")
    segmenter = Segmenter.from_file(model_path, threads=threads)
    found = find_sources(inputs, channel_files=segmenter.metadata.channel_files or DEFAULT_CHANNEL_FILES)
    _refuse_overwriting(inputs, found.sources, out)
    volumes: list[SegmentedVolume] = []
    failures = list(found.failures)
    for source in track(
        found.sources, label="infer", unit="volume", total=len(found.sources), log=_LOG, enabled=progress
    ):
        start = time.perf_counter()
        try:
            volume = source.read()
            probability_SHW = segmenter.probability(volume.image_SHWC, batch_size=batch_size)
        except UserError as error:
            failures.append(Failure(name=source.name, message=_naming(source, str(error))))
            continue
        mask_SHW = segmenter.binarise(probability_SHW)
        try:
            files = _write(source, volume, mask_SHW, out, kind="mask", model=model_path.name)
        except FileError as error:  # the images' own fault, not that of the place to write to
            failures.append(Failure(name=source.name, message=_naming(source, str(error))))
            continue
        if probabilities:
            _write(source, volume, probability_SHW, out, kind="probability", model=model_path.name)
        volumes.append(_summary(source, volume, mask_SHW, files, time.perf_counter() - start))
    table = out / TABLE
    write_text(table, _csv(volumes, failures, segmenter.metadata.threshold))
    return InferenceReport(volumes=tuple(volumes), failures=tuple(failures), table=table)


def _refuse_overwriting(inputs: Sequence[Path], sources: Sequence[Source], out: Path) -> None:
    """Results have the names of reference masks: among the images they would replace them, or be read as images."""
    for folder in inputs:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{out}: results would lie among the images of {folder}; choose another --out")
    for source in sources:
        for target in (out, out / source.name):
            if target.resolve() == source.folder.resolve():
                raise UserError(f"{out}: results would lie among the images of {source.folder}; choose another --out")


def _naming(source: Source, message: str) -> str:
    """The message, with the file or the folder in front where it names no file of the volume."""
    place = source.files[0] if len(source.files) == 1 else source.folder
    return message if str(source.folder) in message else f"{place}: {message}"


def _write(source: Source, volume: Volume, result_SHW: Array, out: Path, *, kind: str, model: str) -> tuple[Path, ...]:
    if source.kind == "dicom" and kind == "mask":
        from wcr_med.runtime.dicom_seg import write_dicom_seg

        path = out / f"{source.name}{DICOM_MASK_SUFFIX}"
        write_dicom_seg(volume, result_SHW, source.files, path, model=model)
        return (path,)
    if source.kind in ("nifti", "dicom"):
        from wcr_med.volumes.nifti import write_nifti

        path = out / f"{source.name}_{kind}.nii.gz"
        write_nifti(volume, result_SHW, path)
        return (path,)
    from wcr_med.volumes.images import write_mask_image

    folder = out / source.name
    suffixes = [path.suffix.lower() for path in source.files] or [".tif"] * len(volume.names)
    written = []
    for name, suffix, result_HW in zip(volume.names, suffixes, result_SHW, strict=True):
        path = folder / f"{name}_{kind}{suffix if kind == 'mask' else '.tif'}"
        if kind == "mask":
            write_mask_image(result_HW, path)
        else:
            with atomic_path(path) as temporary:
                Image.fromarray(result_HW.astype(np.float32)).save(temporary, format="TIFF")
        written.append(path)
    return tuple(written)


def _summary(
    source: Source, volume: Volume, mask_SHW: Array, files: tuple[Path, ...], seconds: float
) -> SegmentedVolume:
    n_voxels = int(mask_SHW.sum())
    lesion_ml = None
    if volume.spacing_mm is not None:
        lesion_ml = n_voxels * float(np.prod(volume.spacing_mm)) / 1000
    return SegmentedVolume(
        name=source.name,
        mask_files=files,
        n_slices=mask_SHW.shape[0],
        n_slices_with_lesion=int(mask_SHW.any(axis=(1, 2)).sum()),
        n_lesion_voxels=n_voxels,
        lesion_ml=lesion_ml,
        seconds=seconds,
    )


def _csv(volumes: Sequence[SegmentedVolume], failures: Sequence[Failure], threshold: float) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in volumes:
        writer.writerow(
            {
                "volume": row.name,
                "slices": row.n_slices,
                "slices_with_lesion": row.n_slices_with_lesion,
                "lesion_voxels": row.n_lesion_voxels,
                "lesion_ml": "" if row.lesion_ml is None else f"{row.lesion_ml:.4g}",
                "threshold": f"{threshold:g}",
                "seconds": f"{row.seconds:.2f}",
            }
        )
    writer.writerows({"volume": failure.name, "error": failure.message} for failure in failures)
    return stream.getvalue()
