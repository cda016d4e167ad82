"""What a file holds, as lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

from wcr_med.channel_names import listed
from wcr_med.model_layers import Layer
from wcr_med.model_metadata import TASK
from wcr_med.preprocess import INTENSITY_LIMIT
from wcr_med.runtime.info import ModelInfo

_WIDTH = 18
_LONGEST = 300


def info_text(info: ModelInfo) -> str:
    """Several lines: a field each, the runtimes, the layers. Control characters of the file are shown as "?"."""
    return "\n".join(_printable(line) for line in _lines(info))


def _lines(info: ModelInfo) -> Iterator[str]:
    metadata = info.metadata
    yield f"{info.file}: {megabytes(info.size_bytes)}, {info.kind}"
    yield metadata.intended_use
    yield ""
    grid = metadata.preprocess
    percentiles = f"{grid.low_percentile:g} and {grid.high_percentile:g}"
    fields = {
        "task": f"{TASK}; {', '.join(f'{label} {name}' for label, name in enumerate(metadata.classes))}",
        "network": _pairs(metadata.network),
        "input": f"volumes of {metadata.in_channels} channels, on a grid of {grid.height} x {grid.width}",
        "channels": listed(metadata.channels),
        "channel files": ", ".join(metadata.channel_files or ()),
        "normalisation": f"by channel and volume: centre and spread of the foreground between its percentiles"
        f" {percentiles}, cut off at {INTENSITY_LIMIT:g} spreads; crop {grid.crop}",
        "threshold": f"{metadata.threshold:g}",
        "sparsity": _sparsity(metadata.sparsity),
        "split": metadata.split_hash,
        **_origin(metadata.history, metadata.provenance),
        "licence": metadata.licence,
        "checksum": f"right ({info.sha256[:16]}...)"
        if info.sha256
        else "none: damage may go unnoticed; export it again",
        "graph inputs": ", ".join(f"{name} {_shape(shape)}" for name, shape in info.inputs.items()),
        "graph outputs": ", ".join(info.outputs),
        "operators": f"{sum(info.operators.values())} nodes; "
        + ", ".join(f"{domain or 'ONNX'} {version}" for domain, version in info.opsets.items()),
        "custom operators": ", ".join(info.custom_operators) or "none",
    }
    for name, value in fields.items():
        if value:
            yield f"{name:{_WIDTH}}{value[:_LONGEST]}"
    yield ""
    yield "Runtimes that have all its operators:"
    for row in info.support:
        yield f"  {row.runtime:36}{'yes' if row.loads else 'no'}{f': {row.note}' if row.note else ''}"
    yield ""
    if info.layers is None:
        yield "Layers: the file has no table of them; export the network again to get one."
    else:
        yield from _table(info.layers)


def megabytes(size_bytes: int) -> str:
    """In millions of bytes, with two digits."""
    return f"{size_bytes / 1e6:.2f} MB"


def _sparsity(figures: Mapping[str, float]) -> str:
    parts = []
    for name, what in (("prunable", "prunable weights"), ("all", "parameters")):
        share, number = figures.get(f"sparsity_{name}"), figures.get(f"n_{name}")
        if share is not None and number is not None:
            parts.append(f"{100 * share:.2f} % of {number:,.0f} {what}")
    return f"{', '.join(parts)}, in the network as trained" if parts else "not recorded"


def _origin(history: tuple[dict[str, Any], ...], provenance: Mapping[str, Any]) -> dict[str, str]:
    """Lines on how the network came to be; what a file does not say is left out."""
    made = provenance.get("network")
    written = provenance.get("export")
    data = [str(step["data_hash"]) for step in history if "data_hash" in step]
    return {
        "made by": " -> ".join(str(step.get("step", "?")) for step in history),
        "training": _made(made) if isinstance(made, dict) else "",
        "training data": data[0] if data else "",
        "export": _made(written) if isinstance(written, dict) else "",
    }


def _made(record: Mapping[str, Any]) -> str:
    versions = record.get("versions")
    parts = [
        f"{name} {record[name]}" for name in ("commit", "seed", "python", "platform") if record.get(name) is not None
    ]
    return ", ".join([*parts, *([_pairs(versions)] if isinstance(versions, dict) else [])])


def _pairs(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in document.items() if value is not None)


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "of any shape" if shape is None else f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _table(layers: tuple[Layer, ...]) -> Iterator[str]:
    rows = [("layer", "shape", "weights", "non-zero", "sparsity", "bytes", "stored as")]
    for layer in layers:
        shape = "x".join(map(str, layer.shape))
        counts = (str(layer.n), str(layer.n_nonzero), f"{100 * layer.sparsity:.2f} %", str(layer.size_bytes))
        rows.append((layer.name, shape, *counts, f"{layer.storage}, {layer.values}"))
    n, kept = sum(layer.n for layer in layers), sum(layer.n_nonzero for layer in layers)
    share = f"{100 * (1 - kept / n):.2f} %" if n else ""
    rows.append(("all", "", str(n), str(kept), share, str(sum(layer.size_bytes for layer in layers)), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, 1, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in line)
