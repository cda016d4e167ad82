"""What a model file costs on this machine, alone or beside the file of another network."""

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.model_metadata import INPUTS, ModelMetadata
from wcr_med.preprocess import prepare
from wcr_med.progress import track
from wcr_med.provenance import available_cores, processor_name
from wcr_med.runtime.finding import find_sources
from wcr_med.runtime.peak_memory import FreshRun, measure_fresh_run
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.session import session
from wcr_med.timing import RUNS_IN_A_TURN, SpeedRatio, speed_ratio, time_in_turn
from wcr_med.volumes.choice import choose_channels

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)

_SECONDS = 3.0  # of timed runs, for each number of threads
_FEWEST_RUNS, _MOST_RUNS = 3 * RUNS_IN_A_TURN, 100
_FRESH_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One file with one number of threads.

    Attributes:
        threads: of the processor.
        n_runs: timed runs.
        p50_ms: median of a run, all its slices.
        p95_ms: 95th percentile.
        slices_per_s: slices of all runs over their time.
        load_ms: median time to open the file in a fresh process.
        peak_memory_bytes: the most that such a process held; `None` where the operating system does not tell.
    """

    threads: int
    n_runs: int
    p50_ms: float
    p95_ms: float
    slices_per_s: float
    load_ms: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class BenchedFile:
    """What was measured of one file; a row for each number of threads."""

    file: str
    size_bytes: int
    timings: tuple[Timing, ...]


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How many times as fast the file is as the one beside it, with one number of threads.

    Attributes:
        threads: of the processor.
        median: over the turns; `low` the 5th and `high` the 95th percentile over them (`SpeedRatio`).
        n_turns: interleaved turns.
        too_noisy: the range says too little for the median to be quoted.
    """

    threads: int
    median: float
    low: float
    high: float
    n_turns: int
    too_noisy: bool

    @property
    def ratio(self) -> SpeedRatio:
        """The same as a ratio."""
        return SpeedRatio(median=self.median, low=self.low, high=self.high, n_turns=self.n_turns)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """What was measured.

    Attributes:
        processor: and number of cores.
        input: what the slices are.
        batch_size: slices a run.
        grid: rows and columns of the network's grid.
        model: the file.
        against: the file beside it, if one was given.
        speedups: a row for each number of threads; empty without `against`.
    """

    processor: str
    input: str
    batch_size: int
    grid: tuple[int, int]
    model: BenchedFile
    against: BenchedFile | None
    speedups: tuple[Speedup, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


def bench(
    model: Path,
    against: Path | None = None,
    *,
    threads: Sequence[int] = (),
    batch_size: int = 1,
    n_runs: int = 0,
    source: Path | None = None,
    progress: bool = False,
) -> BenchReport:
    """Measure a model file, and another one beside it.

    Both are timed in one process, in turn, a few runs at once, so that what slows the machine slows both. Time to load
    and memory are those of fresh processes, one file after the other, three times each. A run takes prepared slices:
    reading images and the way to the network's grid and back are not in it.

    Args:
        model: a portable or accelerated file.
        against: the file of another network for the same images, best the dense one.
        threads: numbers of processor threads; by default 1 and all.
        batch_size: slices a run, at least 1.
        n_runs: timed runs of each file; 0: as many as take some seconds.
        source: an image or a folder of one volume, whose middle slices are taken; made-up slices by default.
        progress: show how far it is.

    Raises:
        UserError: a file cannot be used, both are for different images, or the source is no volume for them.
    """
    paths = [model] if against is None else [model, against]
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: a folder; give an ONNX file that `wcr-med export` wrote")
    with Segmenter.from_file(model, threads=1) as segmenter:
        metadata = segmenter.metadata
        if against is not None:
            _require_alike(model, metadata, against)
        feed = _made_up(metadata, batch_size) if source is None else _real(segmenter, source, batch_size)

    timings: dict[Path, list[Timing]] = {path: [] for path in paths}
    speedups = []
    for number in sorted(set(threads)) or sorted({1, available_cores()}):
        times = _times(paths, feed, threads=number, n_runs=n_runs, progress=progress)
        fresh = _fresh(paths, feed, threads=number, progress=progress)
        for place, path in enumerate(paths):
            timings[path].append(_timing(times[place], fresh[place], threads=number, batch_size=batch_size))
        if against is not None:
            ratio = speed_ratio(times[1], times[0])
            speedups.append(Speedup(threads=number, **asdict(ratio), too_noisy=ratio.too_noisy))
    files = [
        BenchedFile(file=path.name, size_bytes=path.stat().st_size, timings=tuple(timings[path])) for path in paths
    ]
    return BenchReport(
        processor=processor_name(),
        input="made-up slices" if source is None else f"slices of {source.name}",
        batch_size=batch_size,
        grid=(metadata.preprocess.height, metadata.preprocess.width),
        model=files[0],
        against=files[1] if against is not None else None,
        speedups=tuple(speedups),
    )


def _require_alike(model: Path, metadata: ModelMetadata, against: Path) -> None:
    with Segmenter.from_file(against, threads=1) as other:
        theirs = other.metadata
    for what, own, found in (
        ("channels", metadata.in_channels, theirs.in_channels),
        ("rows", metadata.preprocess.height, theirs.preprocess.height),
        ("columns", metadata.preprocess.width, theirs.preprocess.width),
    ):
        if own != found:
            raise UserError(f"{against}: takes {found} {what}, {model} takes {own}; give a file for the same images")


def _made_up(metadata: ModelMetadata, batch_size: int) -> dict[str, Array]:
    """Noise in a disc, in a dark frame: the same each time."""
    rows, columns = metadata.preprocess.height, metadata.preprocess.width
    row_HW, column_HW = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    head_HW = row_HW**2 + column_HW**2 < 0.8
    noise = np.random.default_rng(0).integers(60, 200, (batch_size, rows, columns, metadata.in_channels), np.uint8)
    prepared = prepare(noise * head_HW[None, :, :, None], metadata.preprocess)
    image_SChw = np.ascontiguousarray(prepared.image_SChw)
    return dict(zip(INPUTS, (image_SChw, prepared.centre_C, prepared.spread_C), strict=True))


def _real(segmenter: Segmenter, source: Path, batch_size: int) -> dict[str, Array]:
    """The middle slices of a volume."""
    metadata = segmenter.metadata
    channels = choose_channels(metadata.channels, metadata.in_channels)
    found = find_sources([source], channel_files=metadata.channel_files, channels=channels)
    if found.failures or len(found.sources) != 1:
        reason = found.failures[0].message if found.failures else f"{source}: {len(found.sources)} volumes; give one"
        raise UserError(reason)
    image_SHWC = found.sources[0].read().image_SHWC
    n_slices = image_SHWC.shape[0]
    if n_slices < batch_size:
        raise UserError(f"{source}: {n_slices} slices; give --batch-size {n_slices} or less")
    known = segmenter.survey(image_SHWC)
    first = (n_slices - batch_size) // 2
    image_SChw = known.frame.to_network(np.moveaxis(image_SHWC[first : first + batch_size], -1, 1))
    return dict(zip(INPUTS, (np.ascontiguousarray(image_SChw), known.centre_C, known.spread_C), strict=True))


def _times(
    paths: Sequence[Path], feed: Mapping[str, Array], *, threads: int, n_runs: int, progress: bool
) -> list[list[float]]:
    """Milliseconds of the runs of each file."""
    sessions = [session(path, threads=threads) for path in paths]
    runs = {str(place): partial(opened.run, None, feed) for place, opened in enumerate(sessions)}
    if not n_runs:
        once = time_in_turn(runs, 1)
        fitting = int(1000 * _SECONDS / sum(times[0] for times in once.values()))
        n_runs = min(max(fitting // RUNS_IN_A_TURN * RUNS_IN_A_TURN, _FEWEST_RUNS), _MOST_RUNS)

    def tracked(rounds: Sequence[int]) -> Iterable[int]:
        label = f"timing, {_threads(threads)}"
        return track(rounds, label=label, unit="turn", total=len(rounds), log=_LOG, enabled=progress)

    return list(time_in_turn(runs, n_runs, track=tracked).values())


def _fresh(paths: Sequence[Path], feed: Mapping[str, Array], *, threads: int, progress: bool) -> list[list[FreshRun]]:
    """What fresh processes say of each file."""
    found: list[list[FreshRun]] = [[] for _ in paths]
    rounds = range(_FRESH_RUNS)
    label = f"loading, {_threads(threads)}"
    for _ in track(rounds, label=label, unit="round", total=len(rounds), log=_LOG, enabled=progress):
        for path, runs in zip(paths, found, strict=True):
            fresh = measure_fresh_run(path, feed, threads=threads)
            if fresh is None:
                raise UserError(f"{path}: does not run in a process of its own; free some memory and try again")
            runs.append(fresh)
    return found


def _timing(times: Sequence[float], fresh: Sequence[FreshRun], *, threads: int, batch_size: int) -> Timing:
    p50_ms, p95_ms = np.percentile(times, (50, 95))
    peaks = [run.peak_bytes for run in fresh if run.peak_bytes is not None]
    return Timing(
        threads=threads,
        n_runs=len(times),
        p50_ms=float(p50_ms),
        p95_ms=float(p95_ms),
        slices_per_s=1000 * batch_size * len(times) / sum(times),
        load_ms=statistics.median(run.load_ms for run in fresh),
        peak_memory_bytes=max(peaks) if peaks else None,
    )


def _threads(number: int) -> str:
    return f"{number} thread" if number == 1 else f"{number} threads"
