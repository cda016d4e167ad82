"""Speed, load time and size of exported files in ONNX Runtime, dense against sparse.

Runs of all files are interleaved, so that a busy machine slows each of them alike, and the ratio to the first file is
taken run by run. Without --files, a Buda U-Net with random weights is exported dense and, pruned to each sparsity, as
the exporter stores it.

    python benchmarks/onnx_latency.py
    python benchmarks/onnx_latency.py --files runs/lgg/export/dense.onnx runs/lgg/export/pruned.onnx --size 256
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from wcr_med.config import ModelConfig
from wcr_med.export import build_graph
from wcr_med.files import write_json
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings
from wcr_med.provenance import processor_name
from wcr_med.pruning import make_mask


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file.

    Attributes:
        name: of the file.
        size_mb: megabytes on disk.
        load_ms: median time to open a session, milliseconds.
        p50_ms: median latency of one run; `p95_ms` its 95th percentile.
        latency_ratio: median over runs of latency / that of the first file; `load_ratio` likewise for loading.
        size_ratio: size / that of the first file.
    """

    name: str
    size_mb: float
    load_ms: float
    p50_ms: float
    p95_ms: float
    latency_ratio: float
    load_ratio: float
    size_ratio: float


def export_files(folder: Path, *, features: int, size: int, sparsities: Sequence[float]) -> list[Path]:
    """Write the dense file and one for each sparsity."""
    settings = PreprocessSettings(height=size, width=size)
    files = []
    for sparsity in (0.0, *sparsities):
        model = build_model(ModelConfig(features=features), seed=0).eval()
        if sparsity:
            make_mask(model, "layer_magnitude", sparsity).apply_(model)
        built = build_graph(model, settings, in_channels=3, storage="auto" if sparsity else "dense")
        files.append(folder / (f"sparse-{100 * sparsity:g}.onnx" if sparsity else "dense.onnx"))
        onnx.save(built.model, files[-1])
    return files


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """As the runtime opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed_of(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Noise with the intensities of an 8-bit image."""
    rng = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else batch for size in value.shape]
        feed[value.name] = rng.uniform(1, 255, shape).astype(np.float32)
    return feed


def measure(files: Sequence[Path], *, threads: int, batch: int, runs: int, loads: int) -> list[Row]:
    """Time every file, interleaved."""
    load_FL = np.empty((len(files), loads))
    for turn in range(loads):
        for number, path in enumerate(files):
            start = time.perf_counter()
            open_session(path, threads)
            load_FL[number, turn] = time.perf_counter() - start
    sessions = [open_session(path, threads) for path in files]
    feeds = [feed_of(session, batch) for session in sessions]
    for session, feed in zip(sessions, feeds, strict=True):
        session.run(["probability"], feed)  # the first run also allocates
    run_FR = np.empty((len(files), runs))
    for turn in range(runs):
        for number in np.roll(np.arange(len(files)), turn):  # each file is first equally often
            start = time.perf_counter()
            sessions[number].run(["probability"], feeds[number])
            run_FR[number, turn] = time.perf_counter() - start
    sizes_F = np.array([path.stat().st_size for path in files])
    return [
        Row(
            name=path.name,
            size_mb=sizes_F[number] / 1e6,
            load_ms=float(np.median(load_FL[number])) * 1e3,
            p50_ms=float(np.median(run_FR[number])) * 1e3,
            p95_ms=float(np.percentile(run_FR[number], 95)) * 1e3,
            latency_ratio=float(np.median(run_FR[number] / run_FR[0])),
            load_ratio=float(np.median(load_FL[number] / load_FL[0])),
            size_ratio=float(sizes_F[number] / sizes_F[0]),
        )
        for number, path in enumerate(files)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", help="Exported files; ratios are to the first")
    parser.add_argument("--features", type=int, default=32, help="Channels of the first level, without --files")
    parser.add_argument("--size", type=int, default=256, help="Rows and columns, without --files")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9, 0.95], help="Without --files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="Slices a run")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Also write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or export_files(
            Path(folder), features=arguments.features, size=arguments.size, sparsities=arguments.sparsity
        )
        rows = measure(
            files, threads=arguments.threads, batch=arguments.batch, runs=arguments.runs, loads=arguments.loads
        )
    print(f"{processor_name()}; onnxruntime {onnxruntime.__version__}")
    print(f"threads {arguments.threads}, batch {arguments.batch}, runs {arguments.runs}, loads {arguments.loads}")
    print(f"{'file':<20}{'MB':>8}{'ratio':>8}{'load ms':>10}{'ratio':>8}{'p50 ms':>10}{'p95 ms':>10}{'ratio':>8}")
    for row in rows:
        print(
            f"{row.name:<20}{row.size_mb:>8.2f}{row.size_ratio:>8.3f}{row.load_ms:>10.1f}{row.load_ratio:>8.2f}"
            f"{row.p50_ms:>10.1f}{row.p95_ms:>10.1f}{row.latency_ratio:>8.3f}"
        )
    if arguments.json:
        write_json(arguments.json, {"processor": processor_name(), "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
