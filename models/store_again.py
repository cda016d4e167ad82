"""Store the weights of a network in models/ by the rule that `wcr-med export` follows now, without its run.

    python -m models.store_again models/lgg-pruned-90.onnx

Writes NAME.onnx, NAME.standalone.onnx and their sizes and hashes in NAME.md, NAME.model_card.json and
NAME.metrics.json. Weights, metadata and answers stay the same to the last bit; that is compared before anything is
written.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from models.publish import describe, tell_written
from wcr_med.errors import UserError
from wcr_med.export import dense_again, open_session, store
from wcr_med.export.layers import write_layers
from wcr_med.export.standalone import build_standalone
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, read_json, write_json, write_text
from wcr_med.model_metadata import INPUTS, METADATA_KEY, ModelMetadata
from wcr_med.onnx_file import read_contents


def stored_again(path: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The portable and the standalone model of a portable file, stored by today's rule.

    Raises:
        UserError: the file cannot be used, or an answer of either model would not be the same to the last bit.
    """
    text = read_contents(path).metadata.get(METADATA_KEY)
    metadata = ModelMetadata.from_json(text, source=str(path))
    old = onnx.load(path)
    stored = store(dense_again(old), "auto")
    portable, standalone = stored.model, build_standalone(stored.model, metadata)
    for model in (portable, standalone):
        write_layers(model, stored.tensors)
    require_alike(old, portable, slices_for(metadata), source=path)
    require_alike(build_standalone(old, metadata), standalone, volume_for(metadata), source=path)
    return portable, standalone


def require_alike(
    old: onnx.ModelProto, new: onnx.ModelProto, feed: Mapping[str, np.ndarray[Any, Any]], *, source: Path
) -> None:
    """Refuse a model that does not answer as the old one, to the last bit.

    Raises:
        UserError: an answer differs.
    """
    expected, found = (open_session(model, threads=1).run(None, feed) for model in (old, new))
    if any(before.tobytes() != after.tobytes() for before, after in zip(expected, found, strict=True)):
        raise UserError(f"{source}: written again it would answer otherwise; nothing was written")


def slices_for(metadata: ModelMetadata) -> dict[str, np.ndarray[Any, Any]]:
    """Two made-up slices with their statistics, as a portable model takes them."""
    rng, n = np.random.default_rng(0), metadata.in_channels
    shape = (2, n, metadata.preprocess.height, metadata.preprocess.width)
    feed = (rng.uniform(0, 255, shape), rng.uniform(60, 120, n), rng.uniform(20, 60, n))
    return {name: values.astype(np.float32) for name, values in zip(INPUTS, feed, strict=True)}


def volume_for(metadata: ModelMetadata) -> dict[str, np.ndarray[Any, Any]]:
    """Three made-up 8-bit slices, as a standalone model takes them."""
    rows, columns = np.ogrid[-1:1:200j, -1:1:180j]
    noise = np.random.default_rng(0).integers(40, 250, (3, 200, 180, metadata.in_channels), np.uint8)
    return {INPUTS[0]: noise * (rows**2 + columns**2 < 0.7)[None, :, :, None].astype(np.uint8)}


def described_again(document: Any, sizes: Mapping[int, int]) -> Any:
    """A copy of a JSON document in which files have their new sizes."""
    if isinstance(document, dict):
        return {
            key: sizes.get(value, value) if key == "size_bytes" else described_again(value, sizes)
            for key, value in document.items()
        }
    return [described_again(entry, sizes) for entry in document] if isinstance(document, list) else document


def store_again(path: Path) -> list[Path]:
    """Write the files anew; see the top of this file. The ONNX files come last, their card stands before them."""
    models = dict(zip((path, path.with_suffix(".standalone.onnx")), stored_again(path), strict=True))
    before = {target: describe(target, target.name) for target in models}
    card_path, metrics_path = (path.with_suffix(f".{part}.json") for part in ("model_card", "metrics"))
    page_path = path.with_suffix(".md")
    written = [card_path, metrics_path, page_path, *models]
    new: dict[Path, Path] = {}
    try:
        for target, model in models.items():
            new[target] = target.with_name(f".{target.name}")
            write_model(model, new[target])
        after = {target: describe(new[target], target.name) for target in models}
        sizes = {before[target]["size_bytes"]: after[target]["size_bytes"] for target in models}
        card = described_again(read_json(card_path), sizes)
        card |= dict(zip(("file", "standalone"), after.values(), strict=True))
        page = page_path.read_text(encoding="utf-8")
        for target in models:
            page = page.replace(before[target]["sha256"], after[target]["sha256"])
        write_json(card_path, card)
        write_json(metrics_path, described_again(read_json(metrics_path), sizes))
        write_text(page_path, page)
        for target, source in new.items():
            with atomic_path(target) as temporary:
                temporary.write_bytes(source.read_bytes())
    finally:
        for source in new.values():
            source.unlink(missing_ok=True)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the portable file; the others lie beside it")
    given = parser.parse_args(arguments)
    return tell_written(lambda: store_again(given.model))


if __name__ == "__main__":
    sys.exit(main())
