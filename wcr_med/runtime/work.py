"""One volume from its files to its results."""

import logging
import time
from pathlib import Path

import numpy as np

from wcr_med.channel_names import numbered
from wcr_med.errors import UserError
from wcr_med.preprocess import Survey, binarise
from wcr_med.runtime.options import InferenceOptions
from wcr_med.runtime.report import SegmentedVolume
from wcr_med.runtime.result import volume_ml
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.sources import Failure, Source
from wcr_med.runtime.workplace import Workplace
from wcr_med.runtime.writers import open_writers
from wcr_med.volumes import FileError, Volume

_LOG = logging.getLogger(__name__)

Outcome = SegmentedVolume | Failure

_LARGEST_STRETCH = 2.0  # of the sides of a pixel within an axial slice

NO_MEMORY = "not enough memory; give a smaller --batch-size, or fewer --processes"


def segment_volume(
    segmenter: Segmenter, source: Source, workplace: Workplace, options: InferenceOptions, *, threshold: float
) -> Outcome:
    """Segment one volume, a batch of slices at a time, and put its results in their places once all are written.

    Results of an earlier call are removed first, whatever comes of this one.

    Raises:
        UserError: results cannot be written: a full disk, or no permission.
    """
    workplace.forget(source.name)
    try:
        with workplace.stage() as stage:
            return _segment(segmenter, source, workplace, options, threshold, stage)
    except MemoryError:
        return source.failure(NO_MEMORY)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  (our own fault: told with its traceback, and the other volumes go on)
        _LOG.exception("%s: unexpected error", source.name)
        problem = f"unexpected error ({type(error).__name__}: {error}); please report it with the traceback"
        return source.failure(problem)


def _segment(
    segmenter: Segmenter,
    source: Source,
    workplace: Workplace,
    options: InferenceOptions,
    threshold: float,
    stage: Path,
) -> Outcome:
    start = time.perf_counter()
    inputs = source.state()
    try:
        volume = source.read(scratch=stage)
        known = segmenter.survey(volume.image_SHWC)
        warning = _doubts(segmenter, source, volume, known)
        writers = open_writers(source, volume, segmenter.metadata, stage, options, model=Path(segmenter.source).name)
        files = [path for writer in writers for path in writer.paths]
        workplace.check_names(files, stage)
    except UserError as error:
        return source.failure(error)
    n_voxels = n_slices = 0
    batches = segmenter.batches(volume.image_SHWC, known, batch_size=options.batch_size)
    while True:
        try:
            batch = next(batches, None)
        except UserError as error:
            return source.failure(error)
        if batch is None:
            break
        place, probability_SHW = batch
        mask_SHW = binarise(probability_SHW, threshold)
        for writer in writers:
            writer.add(place, volume.image_SHWC[place], probability_SHW, mask_SHW)
        n_voxels += int(np.count_nonzero(mask_SHW))
        n_slices += int(mask_SHW.any(axis=(1, 2)).sum())
    try:
        for writer in writers:
            writer.finish()
    except FileError as error:  # the images' own fault, not that of the place to write to
        return source.failure(error)
    segmented = SegmentedVolume(
        name=source.name,
        mask_files=tuple(path for writer in writers if writer.are_masks for path in writer.paths),
        n_slices=volume.image_SHWC.shape[0],
        n_slices_with_lesion=n_slices,
        n_lesion_voxels=n_voxels,
        lesion_ml=volume_ml(n_voxels, volume.spacing_mm or options.spacing_mm),
        threshold=threshold,
        seconds=time.perf_counter() - start,
        channels="; ".join(_origins(segmenter, volume)),
        left_out="; ".join(volume.left_out),
        warning=warning,
    )
    try:
        return workplace.keep(source, inputs, segmented, files, stage)
    except FileError as error:
        return source.failure(error)


def _doubts(segmenter: Segmenter, source: Source, volume: Volume, known: Survey) -> str:
    """What speaks against the image, logged too; "" where nothing does."""
    found = [source.doubt, _not_axial(volume), *segmenter.doubts(volume.image_SHWC, known)]
    warning = "; ".join(filter(None, found))
    if volume.left_out:
        _LOG.info("%s: left out: %s", source.place, "; ".join(volume.left_out))
    if warning:
        _LOG.warning("%s: the mask may be wrong: %s", source.place, warning)
    return warning


def _not_axial(volume: Volume) -> str:
    """What the size of voxels says of the direction in which the scan was acquired; "" where nothing."""
    if volume.nifti is None or volume.spacing_mm is None:
        return ""
    _, row_mm, column_mm = volume.spacing_mm
    if max(row_mm, column_mm) <= _LARGEST_STRETCH * min(row_mm, column_mm):
        return ""
    return (
        f"pixels of axial slices measure {row_mm:.3g} x {column_mm:.3g} mm, so the scan was acquired in another"
        " direction than the square pixels that networks are trained with: give an axial or an isotropic scan"
    )


def _origins(segmenter: Segmenter, volume: Volume) -> list[str]:
    names = numbered(segmenter.metadata.channels, volume.image_SHWC.shape[3])
    return [f"{name}: {origin}" for name, origin in zip(names, volume.origins, strict=False)]
