"""Files in, masks out: the work of `wcr-med infer`."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wcr_med import __version__
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors, sha256_of_file
from wcr_med.progress import track
from wcr_med.runtime.finding import find_sources
from wcr_med.runtime.options import InferenceOptions, MaskFormat
from wcr_med.runtime.processes import Job, segment_in_processes
from wcr_med.runtime.report import FAILURES, VOLUMES, InferenceReport, SegmentedVolume, write_tables
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.sources import Failure, Source
from wcr_med.runtime.work import Outcome, segment_volume
from wcr_med.runtime.workplace import Workplace
from wcr_med.volumes.choice import choose_channels

_LOG = logging.getLogger(__name__)


def infer(
    model_path: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    mask_format: MaskFormat = "own",
    probabilities: bool = False,
    overlays: bool = False,
    threshold: float | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    batch_size: int = 4,
    threads: int = 0,
    processes: int = 1,
    channels: Sequence[str] = (),
    resume: bool = False,
    progress: bool = False,
) -> InferenceReport:
    """Segment images with a model file and write masks in the input's own format and space.

    For slices, `out/<volume>/<slice>_mask.<suffix>` of 0 and 255; for NIfTI, `out/<volume>_mask.nii.gz` with the
    input's affine and orientation; for a folder of DICOM images `out/<volume>.seg.dcm`. `out/volumes.csv` has a row a
    volume, `out/failures.csv` one for each that cannot be read; it does not stop the others. The files of a volume take
    their places together, once all are written.

    With several processes, a program that calls this must be guarded by `if __name__ == "__main__":`, since each of
    them loads it.

    Args:
        model_path: an ONNX file that `wcr-med export` wrote.
        inputs: kaggle_3m patient folders or a tree of them, folders of slices or of NIfTI files, PNG, TIFF or NIfTI
            files, folders of DICOM images, patterns; see `find_sources`.
        out: folder for the results; files of an earlier call are replaced.
        mask_format: this and the following: see `InferenceOptions`.
        probabilities: `*_probability`: float32 TIFF for slices, float32 NIfTI for all else.
        overlays: `out/<volume>_overlays/<slice>.png`.
        threshold: of the masks.
        spacing_mm: of inputs that do not tell.
        batch_size: slices a forward pass.
        threads: of all processes together.
        processes: volumes at the same time.
        channels: each `NAME=SELECTOR`: which series, file or channel of the input is which channel of the network.
        resume: keep what is done.
        progress: show a bar on a terminal, lines elsewhere.

    Raises:
        UserError: the model file cannot be used, an option is out of range, there are no inputs, or results cannot be
            written (a full disk, no permission, another call that works there, or `out` lies in a folder that images
            are read from).
    """
    options = InferenceOptions(
        mask_format=mask_format,
        probabilities=probabilities,
        overlays=overlays,
        threshold=threshold,
        spacing_mm=spacing_mm,
        batch_size=batch_size,
        threads=threads,
        processes=processes,
        channels=tuple(channels),
        resume=resume,
    )
    if not inputs:
        raise UserError("no images to segment; give folders or files")
    with Segmenter.from_file(model_path, threads=threads) as segmenter:
        metadata = segmenter.metadata
        found = find_sources(
            inputs,
            channel_files=metadata.channel_files,
            channels=choose_channels(metadata.channels, metadata.in_channels, channels),
        )
        _refuse_overwriting(inputs, found.sources, out)
        chosen = segmenter.metadata.threshold if threshold is None else threshold
        workplace = Workplace(out=out, signature=_signature(model_path, options, chosen))
        job = Job(model_path=model_path, workplace=workplace, options=options, threshold=chosen)
        with workplace.opened():
            with explain_os_errors(out):  # those of an earlier call say nothing of this one
                for name in (VOLUMES, FAILURES):
                    (out / name).unlink(missing_ok=True)
            names = {source.name for source in found.sources}
            for failure in found.failures:
                if failure.name not in names:
                    workplace.forget(failure.name)
            done = _segment(segmenter, found.sources, job, progress=progress)
            volumes = tuple(outcome for outcome in done if isinstance(outcome, SegmentedVolume))
            failures = (*found.failures, *(outcome for outcome in done if isinstance(outcome, Failure)))
            table, failure_table = write_tables(out, volumes, failures)
    return InferenceReport(volumes=volumes, failures=failures, table=table, failure_table=failure_table)


def _segment(segmenter: Segmenter, sources: Sequence[Source], job: Job, *, progress: bool) -> list[Outcome]:
    """What came of each volume, in their order; those that are done already are not done again."""
    kept = [job.workplace.find(source) if job.options.resume else None for source in sources]
    left = [number for number, volume in enumerate(kept) if volume is None]
    if len(left) < len(sources):
        _LOG.info("infer: %d of %d volumes are done already", len(sources) - len(left), len(sources))
    outcomes = _outcomes(segmenter, [sources[number] for number in left], job)
    shown = track(outcomes, label="infer", unit="volume", total=len(left), log=_LOG, enabled=progress)
    by_number: dict[int, Outcome] = {number: volume for number, volume in enumerate(kept) if volume is not None}
    by_number |= {left[place]: outcome for place, outcome in shown}
    return [by_number[number] for number in range(len(sources))]


def _outcomes(segmenter: Segmenter, sources: Sequence[Source], job: Job) -> Iterator[tuple[int, Outcome]]:
    processes = min(job.options.processes, len(sources))
    if processes > 1:
        segmenter.close()  # every process has its own
        yield from segment_in_processes(job, sources, processes=processes)
        return
    for place, source in enumerate(sources):
        yield place, segment_volume(segmenter, source, job.workplace, job.options, threshold=job.threshold)


def _signature(model_path: Path, options: InferenceOptions, threshold: float) -> dict[str, Any]:
    """What results depend on besides the images. Batch size and processes are not in it: they move the last digit."""
    return {
        "wcr_med": __version__,
        "model": sha256_of_file(model_path),
        "threshold": threshold,
        "mask_format": options.mask_format,
        "probabilities": options.probabilities,
        "overlays": options.overlays,
        "channels": list(options.channels),
        "spacing_mm": None if options.spacing_mm is None else list(options.spacing_mm),
    }


def _refuse_overwriting(inputs: Sequence[Path], sources: Sequence[Source], out: Path) -> None:
    """Results have the names of reference masks: among the images they would replace them, or be read as images."""
    for folder in inputs:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{out}: results would lie among the images of {folder}; choose another --out")
    for source in sources:
        for target in (out, out / source.name):
            if target.resolve() == source.folder.resolve():
                raise UserError(f"{out}: results would lie among the images of {source.folder}; choose another --out")
