"""Commands of the runtime: they need the base install alone."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from wcr_med.errors import printable
from wcr_med.terminal import say


def infer(
    model: Annotated[Path, typer.Argument(help="ONNX file that `wcr-med export` wrote.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            readable=False,  # not asked here: one that cannot be read must not stop the others
            help="kaggle_3m patient folders, PNG/TIFF slices, NIfTI files, a tree of such folders, or a quoted pattern"
            " ('scans/**/*.nii.gz'); with the extra dicom folders of DICOM images.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results and tables.")],
    mask_format: Annotated[
        Literal["own", "nifti"],
        typer.Option("--format", help="Masks in the format of the input (own), or all as NIfTI (nifti)."),
    ] = "own",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities beside the masks.")
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write PNG pictures of the slices with the outline of the mask.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Of the masks, between 0 and 1; default: the model file's.", show_default=False)
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="SLICES ROWS COLUMNS",
            help="Millimetres between slices, rows and columns, for images that do not tell: gives millilitres.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices a forward pass; bounds the memory.")] = 4,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads in all; 0: one a processor.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Volumes at the same time; they share the threads.")] = 1,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SELECTOR",
            help="Which part of the input is this channel of the network: a DICOM series by number, UID, folder or"
            " description ('*FLAIR*'), a NIfTI file by pattern, a channel of one file by number. May be repeated.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what an earlier call finished with the same model and options.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the volumes that would be segmented, do nothing.")
    ] = False,
) -> None:
    """Segment images with an exported network; needs neither PyTorch nor MONAI.

    Masks come in the input's own format, grid and orientation; of DICOM images, with the extra dicom, as segmentations
    NAME.seg.dcm. volumes.csv lists what was found, failures.csv what could not be read. For research use only; not a
    medical device.

    Exit code: 0 all segmented; 3 all segmented, but images are unlike those of the training (see the warnings); 100 + n
    if n inputs failed (125: 25 or more); 2 nothing done, or no place for results.

    Example: wcr-med infer runs/lgg/export/pruned-90.onnx /data/kaggle_3m/TCGA_DU_5851_19950428 -o masks
    """
    from wcr_med.runtime.report import UNLIKE, SegmentedVolume, exit_code, failure_lines, warning_lines

    warned: tuple[SegmentedVolume, ...] = ()
    if dry_run:
        from wcr_med.runtime import Segmenter, find_sources
        from wcr_med.volumes.choice import choose_channels

        metadata = Segmenter.from_file(model, threads=threads).metadata
        channels = choose_channels(metadata.channels, metadata.in_channels, channel or ())
        found = find_sources(inputs, channel_files=metadata.channel_files, channels=channels)
        for source in found.sources:
            say(printable(source.name))
        failures = found.failures
    else:
        from wcr_med.runtime import infer as infer_files

        report = infer_files(
            model,
            inputs,
            out,
            mask_format=mask_format,
            probabilities=probabilities,
            overlays=overlays,
            threshold=threshold,
            spacing_mm=spacing,
            batch_size=batch_size,
            threads=threads,
            processes=processes,
            channels=channel or (),
            resume=resume,
            progress=True,
        )
        failures, warned = report.failures, report.warnings
        say(f"{len(report.volumes)} volumes segmented; see {report.table}")
    if warned:
        say(f"warning: masks of {len(warned)} may be wrong:", err=True)
        for line in warning_lines(warned):
            say(line, err=True)
    if failures:
        say(f"error: {len(failures)} could not be segmented:", err=True)
        for line in failure_lines(failures):
            say(line, err=True)
        raise typer.Exit(exit_code(failures))
    if warned:
        raise typer.Exit(UNLIKE)


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def info(
    model: Annotated[Path, typer.Argument(help="ONNX file that `wcr-med export` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Print what an exported network holds: input, sparsity, layers, threshold, origin, which runtimes load it.

    The file is read and not run. Exit code 2 if it is not one of ours; what can be said of it stands in the message.

    Example: wcr-med info runs/lgg/export/pruned-90.onnx
    """
    from wcr_med.runtime.info import describe

    found = describe(model)
    if as_json:
        say(json.dumps(found.to_dict()))
        return
    from wcr_med.runtime.info_text import info_text

    say(info_text(found))


def bench(
    model: Annotated[Path, typer.Argument(help="ONNX file that `wcr-med export` wrote, portable or accelerated.")],
    against: Annotated[
        Path | None, typer.Option(help="Another one, best the dense network, timed in turn.", show_default=False)
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Processor threads; may be repeated. Default: 1 and all.", show_default=False),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices a run.")] = 1,
    runs: Annotated[int, typer.Option(min=0, help="Timed runs of each file; 0: some seconds.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option("--input", help="A volume whose middle slices are used; default: made-up slices."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure an exported network on this machine: time of a slice, throughput, time to load, peak memory.

    With --against both files take turns, and the ratio of their times is told with its spread.

    Example: wcr-med bench runs/lgg/export/pruned-90.onnx --against runs/lgg/export/dense.onnx
    """
    from wcr_med.runtime.bench import bench as measure

    report = measure(
        model, against, threads=threads or (), batch_size=batch_size, n_runs=runs, source=source, progress=True
    )
    if as_json:
        say(json.dumps(report.to_dict()))
        return
    from wcr_med.runtime.bench_text import bench_text

    say(bench_text(report))
