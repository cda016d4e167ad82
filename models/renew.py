"""Bring the cards of a network that is here already up to the form that `publish` writes now, without its run.

    python -m models.renew lgg-pruned-90 --config configs/lgg_small.yaml --set data.root=kaggle_3m

No figure is made: all come from the network's own .metrics.json, and what that does not hold is listed as missing.
Patients, recognised by the files that they were scored on, get hashes of their pixels. Who made the network under which
licence is what the configuration's section `card` states today. The licence, and where the file has none the names of
the channels and the statistics of the network's own training images, enter the metadata of the ONNX files. The training
patients are those of the configuration's split, whose hash must be the network's. Weights, graph and answers stay the
same to the last bit; that is compared before anything is written.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from models.publish import MODELS, MUST_STATE, Pixels, describe, page, tell_written
from models.store_again import described_again, require_alike, slices_for, volume_for
from wcr_med.config import CardConfig, Config, DataConfig, load_config
from wcr_med.data.content import content_hash
from wcr_med.data.index import index_patients
from wcr_med.errors import UserError
from wcr_med.export import licence_of
from wcr_med.export.writing import write_model
from wcr_med.files import atomic_path, read_json, write_json, write_text
from wcr_med.model_metadata import METADATA_KEY, ModelMetadata
from wcr_med.onnx_file import read_contents
from wcr_med.stages.image_statistics import statistics_of
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.workspace import Workspace

OLDER = "The verdict and the plan behind it: the record does not say when the margin was set."
UNWEIGHTED = "Distances by area: HD95 of this record counts the pixels of outlines, none weighed by area."
BOOTSTRAP = "Exact intervals: all intervals of this record, those of rates too, are bootstrap intervals over patients."


def with_pixels(rows: Sequence[Mapping[str, Any]], data: DataConfig) -> list[dict[str, Any]]:
    """The rows of the card's test patients, with hashes of pixels in place of the hash of their files.

    Raises:
        UserError: a patient with the files of a row is not there.
    """
    if all("image_sha256" in row for row in rows):
        return [dict(row) for row in rows]
    entries = {content_hash([entry]): entry for entry in index_patients(data)}
    if missing := [row["number"] for row in rows if row["content_sha256"] not in entries]:
        raise UserError(f"{data.root}: the files of test patients {missing} are not there; give the copy of the run")
    return [
        {
            "number": row["number"],
            **dataclasses.asdict(Pixels.of(entries[row["content_sha256"]])),
            "dice": row["dice"],
        }
        for row in rows
    ]


def renewed(
    card: Mapping[str, Any], metrics: Mapping[str, Any], metadata: ModelMetadata, stated: CardConfig, name: str
) -> dict[str, Any]:
    """The card in the form of today, but for hashes and files."""
    details = dict(card["model_details"])
    report = details.pop("commit", None) or details["commits"]["report"]
    details |= {key: getattr(stated, field.split(".")[1]) or "not stated" for key, field in MUST_STATE.items()}
    details["commits"] = {
        "training": metadata.provenance["network"]["commit"],
        "export": metadata.provenance["export"]["commit"],
        "report": report,
    }
    figures = dict(card["quantitative_analyses"])
    figures["detection"] = next(entry["lesions"] for entry in metrics["networks"] if entry["name"] == name)
    comparison = next(entry for entry in metrics["comparisons"] if entry["network"] == name)
    figures["worst_disturbance"] = comparison.get("worst_disturbance") or worst_disturbance(metrics, name)
    missing = [] if "verdict" in comparison else [OLDER]
    if metrics["schema_version"] == 1:
        missing += [UNWEIGHTED, BOOTSTRAP]
    return {**card, "model_details": details, "quantitative_analyses": figures, "not_in_the_record": missing}


def worst_disturbance(metrics: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Where the network's mean Dice is lowest, as a card of today has it, from the curves of an older record."""
    steps = {
        (curve["network"], curve["disturbance"], step["strength"]): (curve["unit"], step["dice"])
        for curve in metrics["robustness"]
        for step in curve["steps"]
    }
    keys = [key for key in steps if key[0] == name and key[2] > 0 and steps[key][1]["value"] is not None]
    if not keys:
        return None
    _, disturbance, strength = min(keys, key=lambda key: float(steps[key][1]["value"]))
    unit, dice = steps[name, disturbance, strength]
    return {
        "disturbance": disturbance,
        "strength": strength,
        "unit": unit,
        "dense": steps["dense", disturbance, strength][1]["value"],
        "pruned": dice["value"],
        "dense_clean": steps["dense", disturbance, 0.0][1]["value"],
        "pruned_clean": steps[name, disturbance, 0.0][1]["value"],
        "n_patients": dice["n_patients"],
    }


def training_statistics(metadata: ModelMetadata, config: Config) -> dict[str, Any] | None:
    """The image statistics of a network: its own, else those of the training patients it was made with.

    Raises:
        UserError: the configuration splits or preprocesses otherwise than the network's, or an image cannot be read.
    """
    if metadata.image_statistics is not None:
        return metadata.image_statistics
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(out=Path(folder), config=config)
        if workspace.settings != metadata.preprocess:
            raise UserError("preprocess: is not the network's; give the configuration that it was trained with")
        patients = open_patients(workspace, save=False)
        if patients.split.hash != metadata.split_hash:
            raise UserError(
                f"{config.data.root}: gives split {patients.split.hash[:12]}, the network was trained on"
                f" {metadata.split_hash[:12]}; give the data set and the configuration of its run"
            )
        return statistics_of(workspace, patients, metadata.channels or config.channel_names)


def with_facts(path: Path, config: Config, statistics: dict[str, Any] | None) -> onnx.ModelProto:
    """The model with the configuration's licence, and channels and statistics where it has none.

    Raises:
        UserError: weights, graph or answers would not be the same to the last bit.
    """
    model, before = onnx.load(path), onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    metadata = ModelMetadata.from_json(entry.value, source=str(path))
    facts = dataclasses.replace(
        metadata,
        licence=licence_of(config.card),
        channels=metadata.channels or config.channel_names,
        image_statistics=metadata.image_statistics or statistics,
    )
    entry.value = facts.to_json()
    inputs = {entry.name for entry in model.graph.input}
    feed = next(feed for feed in (slices_for(metadata), volume_for(metadata)) if set(feed) == inputs)
    if model.graph.SerializeToString(deterministic=True) != before.graph.SerializeToString(deterministic=True):
        raise UserError(f"{path}: its graph would change; nothing was written")
    require_alike(before, model, feed, source=path)
    return model


def renewed_models(path: Path, config: Config) -> dict[Path, onnx.ModelProto]:
    """The portable file and, where it is there, the standalone one, with what they lack.

    Raises:
        UserError: as `training_statistics` and `with_facts`.
    """
    text = read_contents(path).metadata.get(METADATA_KEY)
    statistics = training_statistics(ModelMetadata.from_json(text, source=str(path)), config)
    files = [file for file in (path, path.with_suffix(".standalone.onnx")) if file.exists()]
    return {file: with_facts(file, config, statistics) for file in files}


def renew(stem: str, config: Config, *, folder: Path = MODELS) -> list[Path]:
    """Write the files anew; see the top of this file.

    Raises:
        UserError: the card of the configuration is not stated, patients are missing, or the data are not those of the
            network's split. Nothing is written then.
    """
    stated = config.card
    path, name = folder / f"{stem}.onnx", stem.removeprefix("lgg-")
    card_path, metrics_path = (path.with_suffix(f".{part}.json") for part in ("model_card", "metrics"))
    card, metrics = read_json(card_path), read_json(metrics_path)
    if unstated := [field for field in MUST_STATE.values() if not getattr(stated, field.split(".")[1])]:
        raise UserError(f"{unstated[0]}: is not stated in the configuration")
    text = read_contents(path).metadata.get(METADATA_KEY)
    metadata = ModelMetadata.from_json(text, source=str(path))
    rows = with_pixels(card["test_patients"], config.data)
    whole = {**renewed(card, metrics, metadata, stated, name), "test_patients": rows}
    sizes = {}
    for file, model in renewed_models(path, config).items():
        before = file.stat().st_size
        with atomic_path(file) as temporary:
            write_model(model, temporary)
        part = "file" if file == path else "standalone"
        whole[part] = describe(file, file.name)
        sizes[before] = whole[part]["size_bytes"]
    write_json(card_path, described_again(whole, sizes))
    write_json(metrics_path, described_again(metrics, sizes))
    write_text(path.with_suffix(".md"), page(stem, name, metadata, whole, metrics))
    return [card_path, metrics_path, path.with_suffix(".md"), path]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stem", help="lgg-pruned-90")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    given = parser.parse_args(arguments)
    return tell_written(lambda: renew(given.stem, load_config(given.config, given.set)))


if __name__ == "__main__":
    sys.exit(main())
