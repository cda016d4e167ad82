"""What an export would give, measured without shipping it: no comparison with PyTorch, and nothing is kept."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import ExportConfig
from wcr_med.export.accelerate import accelerate, interleaved
from wcr_med.export.accelerated import kernel_encoder, timing_sample
from wcr_med.export.export import build_graph
from wcr_med.export.metadata import build_metadata
from wcr_med.export.sessions import open_session, require_accelerator
from wcr_med.export.storage import store
from wcr_med.export.writing import write_model
from wcr_med.volumes import Volume

_RUNS = 25  # single images behind a median, at least


@dataclass(frozen=True, kw_only=True)
class MeasuredExport:
    """What was measured.

    Attributes:
        size_bytes: of the portable file, which `export_model` would write with the same configuration.
        latency_ms: median of single images through the accelerated file; `None` where not asked for.
    """

    size_bytes: int
    latency_ms: float | None


def measure_export(
    model: nn.Module,
    artefact: ModelArtefact,
    config: ExportConfig,
    *,
    channel_files: Sequence[str] | None = None,
    timed_on: Volume | None = None,
) -> MeasuredExport:
    """Build the files of a network in a temporary folder, weigh the portable one and time the accelerated one.

    The accelerated file is tuned as `export_accelerated` does it, and is the portable one where that is as fast. What
    is timed is `session.run` on one slice, preprocessing inside the graph.

    Args:
        model: the network, on the CPU.
        artefact: what is known about it; needs a threshold, and its history is part of the file.
        config: storage, values, threads, rounds.
        channel_files: see `export_model`.
        timed_on: the volume that gives the slice; `None`: no time is taken.

    Raises:
        UserError: no threshold; or the accelerator is absent and a time is asked for.
    """
    if timed_on is not None:
        require_accelerator()
    metadata = build_metadata(model, artefact, channel_files=channel_files)
    built = build_graph(
        model,
        metadata.preprocess,
        in_channels=metadata.in_channels,
        storage=config.storage,
        values=config.values,
        remove_dead_channels=config.remove_dead_channels,
        metadata=metadata,
    )
    with tempfile.TemporaryDirectory(prefix="wcr-med-") as folder:
        path = Path(folder) / "measured.onnx"
        write_model(built.model, path)
        size_bytes = path.stat().st_size
        if timed_on is None:
            return MeasuredExport(size_bytes=size_bytes, latency_ms=None)
        sample = timing_sample(timed_on, metadata.preprocess)
        tuned = accelerate(
            built.dense,
            sample,
            encode=kernel_encoder(config),
            threads=config.accelerate_threads,
            rounds=config.accelerate_rounds,
        )
        if tuned.model is not None:
            write_model(store(tuned.model, config.storage, config.values).model, path)
        session = open_session(path, threads=config.accelerate_threads)
        (latency_ms,) = interleaved([partial(session.run, None, sample)], max(_RUNS, config.accelerate_rounds))
    return MeasuredExport(size_bytes=size_bytes, latency_ms=latency_ms)
