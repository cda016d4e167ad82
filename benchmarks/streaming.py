"""Slices from a cache larger than memory: what preparing costs, whether the training step waits, what memory it takes.

    python benchmarks/streaming.py                                  # 24 volumes of 155 slices, 0.7 GB on the disk
    python benchmarks/streaming.py --volumes 1251 --prepared 12      # the size of BraTS: 35 GB, minutes
    python benchmarks/streaming.py --volumes 1251 --data-limit-gib 4  # the same, each volume prepared: hours

One made-up patient stands for all, through hard links, so only the cache takes room on the disk; with --prepared that
many volumes are prepared, and the others take over their slices. The files of the cache
are dropped from the page cache before anything is read, and an epoch reads a slice once: every read is as cold as in a
set that memory does not hold, whatever the machine has. --data-limit-gib bounds the anonymous memory of every process
(RLIMIT_DATA); below the size of the cache it shows that nothing holds the slices. To bound the page cache too, run the
whole in a control group (systemd-run --scope -p MemoryMax=4G, docker run --memory 4g).

The step that streams and the same step with a small cache held in memory take turns, so that a change in the machine's
load meets both; the ratio is the median over the turns, with its 5th and 95th percentile.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from wcr_med.augment import build_augmenter
from wcr_med.config import Config, DataConfig, load_config
from wcr_med.data import cache as cache_module
from wcr_med.data.cache import SliceCache, prepare_cache
from wcr_med.data.cache_files import PatientSlices
from wcr_med.data.index import PatientEntry, index_patients
from wcr_med.data.loader import TrainingLoader
from wcr_med.data.phantom import make_phantom
from wcr_med.memory import available_memory
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings
from wcr_med.provenance import available_cores, processor_name
from wcr_med.regularizers import build_regularizer
from wcr_med.timing import ratio_of
from wcr_med.training.processor import choose_processor, processor_settings
from wcr_med.training.step import build_step

Batch = tuple[Tensor, Tensor]

_NATIVE_SIZE = 240  # rows and columns of a BraTS slice
_HELD_SLICES = 256  # of the small cache in memory
_TARGET = 0.95


def main() -> int:
    """Prepare, measure, print, and return the exit code: 0 where streaming keeps up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/lgg_small.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="assignments")
    parser.add_argument("--volumes", type=int, default=24)
    parser.add_argument("--prepared", type=int, help="volumes that are prepared, the first ones; all by default")
    parser.add_argument("--slices", type=int, default=155, help="of a volume")
    parser.add_argument("--size", type=int, default=160, help="rows and columns of the network's grid")
    parser.add_argument("--batches", type=int, default=6, help="batches a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the cache goes, and is removed; a temporary one by default")
    parser.add_argument("--data-limit-gib", type=float, help="RLIMIT_DATA of this process and its loader processes")
    options = parser.parse_args()
    if options.data_limit_gib:
        n_bytes = int(options.data_limit_gib * (1 << 30))
        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
    config = load_config(options.config, options.assignments)
    available = available_memory()
    room = "unknown" if available is None else f"{available / 1e9:.1f} GB"
    print(f"{processor_name()}, {available_cores()} cores, memory available {room}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        entries = _entries(Path(folder) / "kaggle_3m", options.volumes, options.slices)
        settings = PreprocessSettings(height=options.size, width=options.size)
        cache = _prepare(entries, settings, Path(folder), options.prepared or len(entries))
        with processor_settings(config.training.threads):
            return _measure(config, cache, options.batches, options.turns)


def _entries(root: Path, n_volumes: int, n_slices: int) -> Sequence[PatientEntry]:
    """One phantom patient under many names."""
    made = make_phantom(root.with_name("one"), n_patients=1, seed=0, size=_NATIVE_SIZE, slices=(n_slices, n_slices))
    (original,) = index_patients(DataConfig(root=made))
    for number in range(1, n_volumes + 1):
        name = f"TCGA_CS_{number:04d}_19990101"
        (root / name).mkdir(parents=True)
        for path in original.files:
            os.link(path, root / name / path.name.replace(original.folder.name, name))
    return index_patients(DataConfig(root=root))


def _prepare(
    entries: Sequence[PatientEntry], settings: PreprocessSettings, folder: Path, n_prepared: int
) -> SliceCache:
    cores = available_cores()
    for workers in dict.fromkeys((1, cores)):
        few = entries[: min(len(entries), 2 * cores)]
        started = time.perf_counter()
        n_slices = len(prepare_cache(few, settings, folder / f"by-{workers}", workers=workers, progress=False))
        seconds = time.perf_counter() - started
        print(f"preparing, {workers:2} thread(s)   {1000 * seconds / n_slices:8.2f} ms a slice")
    with _peak() as peak, _preparing_only(entries[:n_prepared]):
        started = time.perf_counter()
        cache = prepare_cache(entries, settings, folder / "all", workers=cores, progress=True)
        seconds = time.perf_counter() - started
    n_bytes = cache.images_NChw.nbytes + cache.masks_Nhw.nbytes
    print(
        f"preparing {n_prepared} of {len(entries)} volumes, {seconds:.0f} s: {len(cache)} slices, "
        f"{n_bytes / 1e9:.2f} GB, anonymous memory at most {peak[0] / 1e9:.2f} GB"
    )
    return cache


@contextlib.contextmanager
def _preparing_only(entries: Sequence[PatientEntry]) -> Iterator[None]:
    """Within the block, other patients have the slices of one of these: all are one patient."""
    prepare_patient, known = cache_module._prepare_patient, {entry.patient_id for entry in entries}
    made: PatientSlices | None = None

    def prepare(entry: PatientEntry, settings: PreprocessSettings) -> PatientSlices:
        nonlocal made
        if entry.patient_id in known or made is None:
            made = prepare_patient(entry, settings)
            return made
        return replace(made, patient_id=entry.patient_id)

    cache_module._prepare_patient = prepare
    try:
        yield
    finally:
        cache_module._prepare_patient = prepare_patient


def _measure(config: Config, cache: SliceCache, n_batches: int, n_turns: int) -> int:
    _drop_from_page_cache(cache)
    workers, batch_size = config.training.loader_workers, config.training.batch_size
    held_rows = slice(0, min(len(cache), _HELD_SLICES))
    held = replace(
        cache,
        images_NChw=np.array(cache.images_NChw[held_rows]),
        masks_Nhw=np.array(cache.masks_Nhw[held_rows]),
        patient_ids_N=cache.patient_ids_N[held_rows],
        slice_numbers_N=cache.slice_numbers_N[held_rows],
        has_tumour_N=cache.has_tumour_N[held_rows],
        folder=None,
    )
    step = _make_step(config, cache.images_NChw.shape[1])
    with _peak() as peak:
        streamed, in_memory = _endless(config, cache), _endless(config, held)
        step(next(in_memory))
        step(next(streamed))
        read = _bytes_read()
        rates: dict[str, list[float]] = {"loader": [], "streamed": [], "in memory": []}
        for _ in range(n_turns):
            rates["in memory"].append(_rate(lambda: step(next(in_memory)), n_batches))
            rates["streamed"].append(_rate(lambda: step(next(streamed)), n_batches))
            rates["loader"].append(_rate(lambda: len(next(streamed)[0]), n_batches))
        read = _bytes_read() - read
    n_read = 2 * n_turns * n_batches * batch_size
    loader, together, alone = (statistics.median(rates[name]) for name in ("loader", "streamed", "in memory"))
    pairs = zip(rates["streamed"], rates["in memory"], strict=True)
    over_turns = ratio_of([streaming / holding for streaming, holding in pairs])
    ratio = over_turns.median
    slice_bytes = (cache.images_NChw.nbytes + cache.masks_Nhw.nbytes) / len(cache)
    print(f"{config.model.name}, {config.model.features} features, batch {batch_size}, {workers} loader process(es)")
    print(
        f"loader alone, cold       {loader:8.1f} slices/s; {read / n_read / slice_bytes:.2f} of a slice read from disk"
    )
    print(f"step, slices in memory   {alone:8.1f} slices/s")
    print(f"step, slices streamed    {together:8.1f} slices/s")
    print(f"streamed / in memory     {over_turns.cell}   {'passes' if ratio >= _TARGET else f'FAILS: below {_TARGET}'}")
    print(f"anonymous memory         {peak[0] / 1e9:8.2f} GB, of a loader process at most {peak[1] / 1e9:.2f} GB")
    return 0 if ratio >= _TARGET else 1


def _make_step(config: Config, n_channels: int) -> Callable[[Batch], int]:
    """The training loop's own step; it returns how many slices it took."""
    processor = choose_processor(config.training)
    model = build_model(config.model.model_copy(update={"in_channels": n_channels}), seed=config.seed)
    processor.place_model(model)
    take_step = build_step(model.train(), config, processor, build_regularizer(config.regularizer), n_steps=1_000_000)
    counter = iter(range(1_000_000))

    def step(batch: Batch) -> int:
        take_step(*batch, step=next(counter), rate=1e-4).item()
        return len(batch[0])

    return step


def _endless(config: Config, cache: SliceCache) -> Iterator[Batch]:
    loader = TrainingLoader(
        cache,
        np.arange(len(cache)),
        build_augmenter(config.augment),
        batch_size=config.training.batch_size,
        other_per_tumour=config.training.other_per_tumour,
        seed=config.seed,
        workers=config.training.loader_workers,
    )
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _rate(work: Callable[[], int], n_batches: int) -> float:
    """Slices a second of `work`, which does one batch and returns its slices."""
    started = time.perf_counter()
    n_slices = sum(work() for _ in range(n_batches))
    return n_slices / (time.perf_counter() - started)


def _drop_from_page_cache(cache: SliceCache) -> None:
    """Nothing of these files is mapped in yet, so the system lets go of all their pages."""
    assert cache.folder is not None
    for path in cache.folder.iterdir():
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _peak() -> Iterator[list[int]]:
    """The most anonymous memory within the block: of this process and its loader processes, of one of the latter.

    Pages that processes share since the fork are counted once, each its part.
    """
    peak, over = [0, 0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            children = [_anonymous_bytes(child.pid) for child in multiprocessing.active_children()]
            peak[0] = max(peak[0], _anonymous_bytes(os.getpid()) + sum(children))
            peak[1] = max(peak[1], *children, 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def _anonymous_bytes(pid: int | None) -> int:
    """0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def _bytes_read() -> int:
    """That this process and its loader processes have caused to be read from the disk."""
    total = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
    return total


if __name__ == "__main__":
    sys.exit(main())
