"""One loop of training steps in a process of its own, run on request.

Reads lines from standard input and answers each with a line of JSON: "run N" takes N steps, "memory" tells the largest
memory so far, "about" the device and the precision. The first argument is a JSON document, see `Request`.
"""

import contextlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wcr_med.openmp import wait_politely

wait_politely()  # as the command does, before torch loads

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from wcr_med.config import Config, DataConfig, load_config  # noqa: E402
from wcr_med.data.cache import SliceCache, prepare_cache  # noqa: E402
from wcr_med.data.index import index_patients  # noqa: E402
from wcr_med.losses import build_loss  # noqa: E402
from wcr_med.models import build_model  # noqa: E402
from wcr_med.optimizers import build, build_optimizer, learning_rate  # noqa: E402
from wcr_med.preprocess import PreprocessSettings  # noqa: E402
from wcr_med.provenance import available_cores  # noqa: E402
from wcr_med.regularizers import build_regularizer  # noqa: E402
from wcr_med.training import processor as processors  # noqa: E402
from wcr_med.training.compiled import compiled  # noqa: E402
from wcr_med.training.loaders import open_loader  # noqa: E402
from wcr_med.training.processor import Processor, choose_processor, processor_settings  # noqa: E402
from wcr_med.training.step import build_step  # noqa: E402

LoopName = Literal["pure", "held", "real"]
Switch = Literal["row_major", "unfused", "denormals", "memory_given_back", "faded"]
Steps = Iterator[int]
"""Each `next` takes a step and gives its slices."""

LEAD_IN = 3
"""Steps before each timed stretch: the loader's processes have worked ahead while others ran."""

_TINY = 1e-40  # a denormal number


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the loop is.

    Attributes:
        loop: "pure": forward, backward and the optimizer on one batch held on the device; "held": the training step on
            such a batch; "real": the training step on what the training's loader gives.
        config: path of a configuration.
        assignments: as of `--set`.
        data: a kaggle_3m folder.
        cache: folder of prepared slices.
        switches: what is unlike a training: kernels row-major; the optimizer not fused; denormal numbers computed;
            freed memory given back to the system; most weights denormal, as late in a training with a regularizer.
    """

    loop: LoopName
    config: str
    assignments: list[str]
    data: str
    cache: str
    switches: list[Switch] = field(default_factory=list)


class RowMajor(Processor):
    """Leaves kernels and images as they come."""

    def place(self, tensor: Tensor) -> Tensor:
        """On the device."""
        return tensor.to(self.device)

    def place_model(self, model: nn.Module) -> nn.Module:
        """On the device."""
        return model.to(self.device)


def open_cache(config: Config, data: Path, folder: Path) -> SliceCache:
    """The prepared slices of all patients; made where they are missing."""
    settings = PreprocessSettings(**config.preprocess.model_dump())
    entries = index_patients(DataConfig(root=data))
    return prepare_cache(entries, settings, folder, workers=available_cores(), progress=False)


@contextlib.contextmanager
def open_loop(request: Request) -> Iterator[tuple[Processor, Steps]]:
    """The processor and the loop, nothing run yet, under the settings of a training."""
    config = load_config(Path(request.config), request.assignments)
    if "unfused" in request.switches:
        build._FUSED_DEVICES = ()
    if "memory_given_back" in request.switches:
        processors._keep_freed_memory = lambda: None
    with processor_settings(config.training.threads):
        processor, model, config = _processor_and_model(request, config)
        make = {"pure": pure, "held": held, "real": real}[request.loop]
        with compiled(model, wanted=config.training.compile):
            yield processor, make(request, config, processor, model)


def _processor_and_model(request: Request, config: Config) -> tuple[Processor, nn.Module, Config]:
    if "denormals" in request.switches:
        torch.set_flush_denormal(False)
    chosen = choose_processor(config.training)
    if "row_major" in request.switches:
        chosen = RowMajor(device=chosen.device, precision=chosen.precision)
    model = chosen.place_model(build_model(config.model, seed=config.seed)).train()
    if "faded" in request.switches:
        fade_(model)
        # Steps must not bring the weights back.
        config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-30})})
    return chosen, model, config


@torch.no_grad()
def fade_(model: nn.Module) -> None:
    """Make nine in ten kernel weights denormal."""
    for weights in model.parameters():
        if weights.ndim > 1:
            small = weights.abs() < torch.quantile(weights.abs().flatten()[: 1 << 20], 0.9)
            weights.copy_(torch.where(small, weights.sign() * _TINY, weights))


def synthetic(config: Config, processor: Processor) -> tuple[Tensor, Tensor]:
    """A batch of noise on the device."""
    torch.manual_seed(0)
    grid, n_slices = config.preprocess, config.training.batch_size
    images = torch.randn(n_slices, config.model.in_channels, grid.height, grid.width)
    masks = (torch.rand(n_slices, 1, grid.height, grid.width) > 0.9).float()
    return processor.place(images), processor.place(masks)


def pure(_request: Request, config: Config, processor: Processor, model: nn.Module) -> Steps:
    """Forward, loss, backward, optimizer; nothing else."""
    images, masks = synthetic(config, processor)
    loss_of, optimizer = build_loss(config.loss), build_optimizer(model, config.optimizer)
    while True:
        optimizer.zero_grad(set_to_none=True)
        with processor.autocast():
            logits = model(images)
        torch.autograd.backward(loss_of(logits.float(), masks))
        optimizer.step()
        yield len(images)


def held(_request: Request, config: Config, processor: Processor, model: nn.Module) -> Steps:
    """The training step on one batch."""
    images, masks = synthetic(config, processor)
    take_step = _step(config, processor, model)
    while True:
        take_step(images, masks)
        yield len(images)


def real(request: Request, config: Config, processor: Processor, model: nn.Module) -> Steps:
    """The training step on one batch after another of the training's loader, epoch after epoch."""
    cache = open_cache(config, Path(request.data), Path(request.cache))
    loader = open_loader(model, cache, cache.rows(dict.fromkeys(cache.patient_ids_N.tolist())), config, processor)
    take_step = _step(config, processor, model)
    with contextlib.closing(loader):
        for epoch in itertools.count():
            for images, masks in loader.epoch(epoch):
                take_step(images, masks)
                yield len(images)


def _step(config: Config, processor: Processor, model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """A step as the training's loop takes it: the rate of the step, the loss looked at one step late."""
    total, half = 1 << 20, 1 << 19  # half-way: the regularizer at full strength, the rate well above zero
    step = build_step(model, config, processor, build_regularizer(config.regularizer), n_steps=total)
    number, waiting = half, None

    def take(images: Tensor, masks: Tensor) -> None:
        nonlocal number, waiting
        rate = learning_rate(number, total, 0, config.optimizer.learning_rate)
        loss = step(images, masks, step=number, rate=rate)
        if waiting is not None:
            waiting.item()
        number, waiting = number + 1, loss

    return take


def peak_mb(device: torch.device) -> float:
    """The largest memory so far, megabytes: of the process, or what torch took on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    # The figure of `getrusage` is at least that of the process which started this one.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


def run(steps: Steps, n_steps: int, device: torch.device) -> dict[str, float]:
    """Take steps; how many slices and seconds they were."""
    _wait(device)
    started = time.perf_counter()
    slices = sum(next(steps) for _ in range(n_steps))
    _wait(device)
    return {"slices": slices, "seconds": time.perf_counter() - started}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main(document: Mapping[str, Any]) -> None:
    """Answer requests until the input ends."""
    with open_loop(Request(**document)) as (processor, steps):
        for line in sys.stdin:
            word, *numbers = line.split()
            if word == "run":
                answer: dict[str, Any] = run(steps, int(numbers[0]), processor.device)
            elif word == "memory":
                answer = {"peak_mb": peak_mb(processor.device)}
            else:
                name = torch.cuda.get_device_name() if processor.device.type == "cuda" else ""
                answer = {"processor": " ".join([str(processor), name]).strip(), "torch": torch.__version__}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
