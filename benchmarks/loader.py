"""Loader throughput with augmentation against the training step of the configured network.

    python benchmarks/loader.py --config configs/lgg_small.yaml [--set model.features=32] [--data kaggle_3m]

Three figures, measured in turn so that a change in the machine's load meets all of them: the loader alone, the step
alone on one batch held in memory, and both together as in training. The loader passes when it is faster than the step;
otherwise the exit code is 1. Without --data the slices come from a phantom.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wcr_med.augment import build_augmenter
from wcr_med.config import Config, DataConfig, load_config
from wcr_med.data.cache import SliceCache, prepare_cache
from wcr_med.data.dataset import TrainingLoader
from wcr_med.data.index import index_patients
from wcr_med.data.phantom import make_phantom
from wcr_med.losses import build_loss
from wcr_med.models import build_model, prunable_parameters
from wcr_med.optimizers import build_optimizer
from wcr_med.preprocess import PreprocessSettings
from wcr_med.provenance import available_cores, processor_name
from wcr_med.regularizers import build_regularizer
from wcr_med.training.processor import Processor, choose_processor, processor_settings
from wcr_med.training.step import TrainingStep

Batch = tuple[Tensor, Tensor]


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/lgg_small.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="assignments")
    parser.add_argument("--data", type=Path, help="a kaggle_3m folder; a phantom by default")
    parser.add_argument("--batches", type=int, default=8, help="batches a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.assignments)
    with tempfile.TemporaryDirectory() as folder, processor_settings(config.training.threads):
        cache = _prepare(config, arguments.data, Path(folder))
        return _measure(config, cache, arguments.batches, arguments.rounds)


def _prepare(config: Config, data: Path | None, folder: Path) -> SliceCache:
    root = data or make_phantom(folder / "kaggle_3m", n_patients=12, seed=0)
    entries = index_patients(DataConfig(root=root))
    settings = PreprocessSettings(**config.preprocess.model_dump())
    started = time.perf_counter()
    cache = prepare_cache(entries, settings, folder / "cache", workers=available_cores(), progress=False)
    prepared = time.perf_counter()
    prepare_cache(entries, settings, folder / "cache", workers=available_cores(), progress=False)
    print(
        f"{len(cache)} slices of {settings.height}x{settings.width} prepared in {prepared - started:.1f} s "
        f"({len(cache) / (prepared - started):.0f} slices/s), opened again in {time.perf_counter() - prepared:.3f} s"
    )
    return cache


def _measure(config: Config, cache: SliceCache, n_batches: int, n_rounds: int) -> int:
    processor = choose_processor(config.training)
    workers = config.training.loader_workers
    step = _make_step(config, processor)
    alone, feeding = _endless(config, cache, 0), _endless(config, cache, workers)
    held = next(alone)
    for _ in range(2):  # warm-up
        step(next(feeding))
    rates: dict[str, list[float]] = {"loader": [], "step": [], "together": []}
    for _ in range(n_rounds):
        rates["loader"].append(_rate(lambda: len(next(alone)[0]), n_batches))
        rates["step"].append(_rate(lambda: step(held), n_batches))
        rates["together"].append(_rate(lambda: step(next(feeding)), n_batches))
    loader, alone_step, together = (statistics.median(values) for values in rates.values())
    ratio = loader * max(1, workers) / alone_step
    print(f"{config.model.name}, {config.model.features} features, batch {config.training.batch_size}, {processor}")
    print(f"{processor_name()}, medians of {n_rounds} rounds of {n_batches} batches")
    print(f"loader, one process    {loader:8.1f} slices/s   {1000 / loader:6.2f} ms a slice")
    print(f"step alone             {alone_step:8.1f} slices/s   {1000 / alone_step:6.2f} ms a slice")
    print(f"together, {workers} process(es) {together:8.1f} slices/s   {together / alone_step:6.2f} of the step alone")
    print(f"loader / step          {ratio:8.1f}   {'passes' if ratio > 1 else 'FAILS: raise training.loader_workers'}")
    return 0 if ratio > 1 else 1


def _make_step(config: Config, processor: Processor) -> Callable[[Batch], int]:
    """The training loop's own step; it returns how many slices it took."""
    model = processor.place_model(build_model(config.model, seed=config.seed)).train()
    take_step = TrainingStep(
        model=model,
        kernels=prunable_parameters(model),
        loss_of=build_loss(config.loss),
        optimizer=build_optimizer(model, config.optimizer),
        processor=processor,
        gradient_clip=config.training.gradient_clip,
        regularizer=build_regularizer(config.regularizer),
        strength=config.regularizer.strength,
    )

    def step(batch: Batch) -> int:
        take_step(*batch)
        return len(batch[0])

    return step


def _endless(config: Config, cache: SliceCache, workers: int) -> Iterator[Batch]:
    loader = TrainingLoader(
        cache,
        np.arange(len(cache)),
        build_augmenter(config.augment),
        batch_size=config.training.batch_size,
        other_per_tumour=config.training.other_per_tumour,
        seed=config.seed,
        workers=workers,
    )
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _rate(work: Callable[[], int], n_batches: int) -> float:
    """Slices a second of `work`, which does one batch and returns its slices."""
    started = time.perf_counter()
    n_slices = sum(work() for _ in range(n_batches))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return n_slices / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
