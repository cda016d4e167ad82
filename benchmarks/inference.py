"""Size, load time, memory and speed of pruned networks: accelerated, portable, and in other engines.

For each network, dense and at each sparsity, the files that `wcr-med export` would write are made, and every engine
runs them in turn, a few runs at a time, each in a process of its own. A busy machine then slows all alike, and the
speed of a row is the median over turns of its ratio to dense ONNX Runtime in the same turn, with the 5th and 95th
percentile; where these lie more than a factor of 2 apart it is too noisy to say. One image at a time.

    python benchmarks/inference.py                                     # random weights, four networks
    python benchmarks/inference.py --run runs/lgg                      # the network that a run trained
    python benchmarks/inference.py --threads 1 2 --engine openvino deepsparse=/path/to/its/python int8
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime.quantization as quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from wcr_med.artefacts import load_model
from wcr_med.config import ModelConfig
from wcr_med.export import build_graph
from wcr_med.export.accelerate import accelerate
from wcr_med.files import write_json
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings
from wcr_med.progress import track
from wcr_med.provenance import processor_name
from wcr_med.pruning import make_mask, prune_
from wcr_med.timing import SpeedRatio, ratio_of

Array = npt.NDArray[np.float32]

_LOG = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.3

WORKER = Path(__file__).with_name("inference_worker.py")
BASELINE = "ONNX Runtime, dense"
NETWORKS = {
    "buda_unet": ModelConfig(name="buda_unet", features=32),
    "basic_unet": ModelConfig(name="basic_unet", features=32),
    "monai_unet": ModelConfig(name="monai_unet", features=32),
    "smp_unet resnet18": ModelConfig(name="smp_unet", encoder="resnet18"),
}
ENGINES = ("openvino", "int8", "deepsparse")
ALLOCATIONS = {"layer-wise": "layer_magnitude", "global": "global_magnitude"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one process runs.

    Attributes:
        network: its name.
        pruned: "dense", or allocation and sparsity.
        engine: as the table names it.
        command: the worker and its arguments.
        size_mb: of the file, megabytes (1e6 bytes).
    """

    network: str
    pruned: str
    engine: str
    command: tuple[str, ...]
    size_mb: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        network, pruned, engine, size_mb: of the entry.
        threads: processor threads.
        load_ms: time to open the file.
        peak_mb: memory to open and run it, beyond the interpreter with the engine imported.
        p50_ms: median latency; `p95_ms` its 95th percentile.
        speed: over turns, dense ONNX Runtime's latency / this one, with its range.
    """

    network: str
    pruned: str
    engine: str
    threads: int
    size_mb: float
    load_ms: float
    peak_mb: float
    p50_ms: float
    p95_ms: float
    speed: SpeedRatio


class Worker:
    """A process that answers requests."""

    def __init__(self, entry: Entry) -> None:
        self.command = entry.command
        self.process = subprocess.Popen(entry.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: str) -> dict[str, Any]:
        """Send a line, wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self.command)}: ended without an answer")
        return dict(json.loads(answer))

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Writes model files and says how to run them.

    Attributes:
        folder: where they go.
        size: height and width of the image.
        feed: a .npz file with the inputs of a run.
        images: float32 (n, 3, size, size), to quantise with.
        threads: processor threads.
        engines: name -> interpreter, of the engines besides ONNX Runtime and the accelerator.
    """

    folder: Path
    size: int
    feed: Path
    images: Array
    threads: int
    engines: dict[str, str]

    def entries(self, network: str, model: nn.Module, pruned: str) -> Iterator[Entry]:
        """All that is run for a network as it is."""
        stem = f"{network} {pruned}".replace(" ", "_").replace("%", "")
        settings = PreprocessSettings(height=self.size, width=self.size)
        # The same sparsity in every layer, the last one of 32 weights included, can cut a network off altogether; what
        # is timed then keeps its channels all the same.
        whole = pruned.startswith("layer-wise")
        built = build_graph(model, settings, in_channels=3, remove_dead_channels=not whole)
        dense_path, portable_path, fast_path = (
            self.folder / f"{stem}{kind}.onnx" for kind in (".dense", "", ".accelerated")
        )
        onnx.save(built.dense, dense_path)
        onnx.save(built.model, portable_path)

        def entry(engine: str, worker: str, path: Path, python: str = sys.executable) -> Entry:
            command = (python, str(WORKER), worker, str(path), "--feed", str(self.feed), "--threads", str(self.threads))
            size_mb = path.stat().st_size / 1e6
            return Entry(network=network, pruned=pruned, engine=engine, command=command, size_mb=size_mb)

        if pruned == "dense":
            yield entry(BASELINE, "onnxruntime", dense_path)
        else:
            yield entry("ONNX Runtime, portable sparse file", "onnxruntime", portable_path)
        acceleration = accelerate(built.dense, dict(np.load(self.feed)), threads=self.threads)
        onnx.save(acceleration.model or built.model, fast_path)
        yield entry("accelerated" if acceleration.model else "accelerated (fell back)", "accelerated", fast_path)
        if "openvino" in self.engines and pruned == "dense":
            yield entry("OpenVINO, dense", "openvino", dense_path, self.engines["openvino"])
        if "int8" in self.engines and pruned == "dense":
            yield entry("ONNX Runtime, INT8", "onnxruntime", self.quantise(dense_path))
        if "deepsparse" in self.engines:
            yield entry("DeepSparse", "deepsparse", self.for_deepsparse(dense_path), self.engines["deepsparse"])

    def for_deepsparse(self, path: Path) -> Path:
        """The same in a format it reads, with the image as only input: it takes every first axis for the batch."""
        model = onnx.load(path)
        model.ir_version = 8
        feed = dict(np.load(self.feed))
        image, *others = list(model.graph.input)
        del model.graph.input[1:]
        model.graph.initializer.extend(onnx.numpy_helper.from_array(feed[other.name], other.name) for other in others)
        readable = path.with_suffix(f".{image.name}.onnx")
        onnx.save(model, readable)
        return readable

    def quantise(self, path: Path) -> Path:
        """Static quantisation as ONNX Runtime's own guide does it: QDQ, a scale per output channel."""
        inferred, quantised = path.with_suffix(".inferred.onnx"), path.with_suffix(".int8.onnx")
        quant_pre_process(path, inferred, skip_symbolic_shape=True)
        feed = dict(np.load(self.feed))

        class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
            def __init__(self, images: Array) -> None:
                self.feeds = iter([{**feed, "image": image[None]} for image in images])

            def get_next(self) -> dict[str, Array] | None:
                return next(self.feeds, None)

        quantization.quantize_static(inferred, quantised, Images(self.images), per_channel=True)
        return quantised


def measure(entries: Sequence[Entry], *, threads: int, turns: int, runs: int) -> list[Row]:
    """Run all entries of a network in turn. The first is what speeds are relative to."""
    workers = [Worker(entry) for entry in entries]
    try:
        loads = [worker.ask("load") for worker in workers]
        times: list[list[list[float]]] = [[] for _ in entries]
        # The threads of the engine before wait busily for a while after their last run.
        for _ in track(range(turns), label=f"timing {entries[0].network}", unit="turn", total=turns, log=_LOG):
            for i, worker in enumerate(workers):
                time.sleep(_PAUSE_SECONDS)
                times[i].append(list(worker.ask(f"run {runs}")["ms"]))
    finally:
        for worker in workers:
            worker.stop()
    medians = [[statistics.median(turn) for turn in entry_turns] for entry_turns in times]
    return [
        Row(
            network=entry.network,
            pruned=entry.pruned,
            engine=entry.engine,
            threads=threads,
            size_mb=entry.size_mb,
            load_ms=float(loads[i]["load_ms"]),
            peak_mb=float(loads[i]["peak_mb"]),
            p50_ms=float(np.percentile(np.concatenate(times[i]), 50)),
            p95_ms=float(np.percentile(np.concatenate(times[i]), 95)),
            speed=ratio_of([base / own for base, own in zip(medians[0], medians[i], strict=True)]),
        )
        for i, entry in enumerate(entries)
    ]


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown."""
    lines = [
        "| network | pruned | engine | threads | MB | load ms | peak MB | p50 ms | p95 ms | speed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {row.network} | {row.pruned} | {row.engine} | {row.threads} | {row.size_mb:.2f} | {row.load_ms:.0f} | "
        f"{row.peak_mb:.0f} | {row.p50_ms:.1f} | {row.p95_ms:.1f} | {row.speed.cell} |"
        for row in rows
    )
    return "\n".join(lines)


def fresh(network: str, run: Path | None) -> nn.Module:
    """The network before pruning: trained, or with random weights."""
    if run is not None:
        return load_model(run / "models" / "dense.safetensors")[0].eval()
    return build_model(NETWORKS[network], seed=0).eval()


def engine(text: str) -> tuple[str, str]:
    """Name and interpreter of an engine that is asked for."""
    name, _, python = text.partition("=")
    if name not in ENGINES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(ENGINES)}")
    return name, python or sys.executable


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder with a trained network, instead of random weights")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.9, 0.95, 0.98])
    parser.add_argument("--allocation", nargs="+", default=list(ALLOCATIONS), choices=ALLOCATIONS)
    parser.add_argument("--size", type=int, default=256, help="height and width of the image")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3, help="runs of each file in a turn")
    parser.add_argument(
        "--engine",
        nargs="*",
        type=engine,
        default=[],
        metavar="NAME",
        help=f"{', '.join(ENGINES)}; NAME=PYTHON for another environment",
    )
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    engines = dict(arguments.engine)
    turns = f"{arguments.turns} turns of {arguments.runs} runs"
    print(f"{processor_name()}, {arguments.size}x{arguments.size}, one image a run, {turns}")
    networks = [arguments.run.name] if arguments.run else arguments.networks
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        random = np.random.default_rng(0)
        images = random.normal(100, 40, (8, 3, arguments.size, arguments.size)).astype(np.float32)
        feed = Path(temporary) / "feed.npz"
        centre, spread = np.full(3, 100, np.float32), np.full(3, 40, np.float32)
        np.savez(feed, image=images[:1], centre=centre, spread=spread)
        for threads in arguments.threads:
            maker = Maker(
                folder=Path(temporary), size=arguments.size, feed=feed, images=images, threads=threads, engines=engines
            )
            for network in networks:
                entries = list(maker.entries(network, fresh(network, arguments.run), "dense"))
                for allocation in arguments.allocation:
                    for sparsity in arguments.sparsity:
                        model = fresh(network, arguments.run)
                        prune_(model, make_mask(model, ALLOCATIONS[allocation], sparsity))
                        entries.extend(maker.entries(network, model, f"{allocation} {100 * sparsity:g}%"))
                rows.extend(measure(entries, threads=threads, turns=arguments.turns, runs=arguments.runs))
    print(table(rows))
    if arguments.out:
        write_json(arguments.out, {"processor": processor_name(), "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
