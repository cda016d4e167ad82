"""Copy a network of a finished run here, with its model card and its report's figures, patients numbered.

    python models/publish.py RUN --model pruned-90

Writes lgg-pruned-90.onnx, .model_card.json, .md and .metrics.json, and lgg-pruned-90.standalone.onnx where the run has
that form of the same file (`wcr-med export --model pruned-90 --standalone`). Refused: a run whose network saw its test
patients, one made with uncommitted code, one on the phantom, one whose card does not say who made the network under
which licence, a file that is not the one that was scored, or one of 2 MB and more.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wcr_med.artefacts import load_model
from wcr_med.data.index import PatientEntry, index_patients, load_volume
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.files import atomic_path, read_json, sha256_of_file, write_json, write_text
from wcr_med.model_metadata import ModelMetadata
from wcr_med.runtime import Segmenter
from wcr_med.stages.export import manifest_path, standalone_path
from wcr_med.stages.workspace import Workspace, open_workspace
from wcr_med.volumes.pixels import pixel_hash

MODELS = Path(__file__).resolve().parent
MOST_BYTES = 2_000_000
LICENCE = (
    "Research use only. The weights were trained on images licensed CC BY-NC-SA 4.0 (TCGA-LGG; masks of Buda, Saha and"
    " Mazurowski 2019), and may be used and passed on under the same terms: not commercially, with attribution, alike."
)
NOT_A_DEVICE = "Not a medical device; not for diagnosis or treatment."
MUST_STATE = {"name": "card.model_name", "developers": "card.developers", "licence": "card.licence"}
NO_PLAN = "none: the record does not show that the margin was set before the training"


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What a patient is recognised by: `wcr_med.volumes.pixels.pixel_hash` of image_SHWC and of mask_SHW."""

    image_sha256: str
    mask_sha256: str

    @classmethod
    def of(cls, entry: PatientEntry) -> "Pixels":
        """Of a patient with a mask."""
        volume = load_volume(entry)
        assert volume.mask_SHW is not None
        return cls(image_sha256=pixel_hash(volume.image_SHWC), mask_sha256=pixel_hash(volume.mask_SHW))


def require_stated(card: Mapping[str, Any]) -> None:
    """Refuse a card that does not name the network, its developers and its licence.

    Raises:
        UserError: a field of the configuration's section `card` is null.
    """
    for name, field in MUST_STATE.items():
        if card["model_details"][name] == "not stated":
            raise UserError(f"{field}: is not stated; state it, then `wcr-med export` and `wcr-med report` again")


def require_committed(metadata: ModelMetadata, card: Mapping[str, Any]) -> None:
    """Refuse what cannot be made again from a commit: training, export or report.

    Raises:
        UserError: the commit of one is not known, or files differed from it.
    """
    commits = {name: metadata.provenance.get(name, {}).get("commit") for name in ("network", "export")}
    commits["report"] = card["model_details"]["commits"]["report"]
    for name, commit in commits.items():
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            raise UserError(f"{name}: made with code of commit {commit!r}; commit everything and make the run again")


def require_honest(workspace: Workspace, name: str, metadata: ModelMetadata, metrics: Mapping[str, Any]) -> Split:
    """The run's split, once it is shown that the network was trained on it and saw no test patient.

    Raises:
        UserError: it was not, it did, or the report says that parts overlap or is of the phantom.
    """
    split = Split.load(workspace.split_path)
    _, artefact = load_model(workspace.model_path(name))
    artefact.refuse_leak(split.test)
    hashes = {metadata.split_hash, artefact.split_hash, *(part["split_hash"] for part in metrics["partitions"])}
    if hashes != {split.hash} or not all(part["disjoint"] for part in metrics["partitions"]):
        raise UserError(f"{workspace.split_path}: is not the one split, by patient, of the network and of its report")
    if metrics["phantom"]:
        raise UserError(f"{workspace.out}: a run on the phantom, whose images are made up; publish one on patients")
    return split


def require_reported(card: Mapping[str, Any], path: Path) -> None:
    """Refuse a report that was written of another network, or of an older file.

    Raises:
        UserError: the card does not list the file with its size.
    """
    listed = {entry["file"]: entry["size_bytes"] for entry in card["model_details"]["files"]}
    if listed.get(path.name) != path.stat().st_size:
        raise UserError(
            f"{path}: is not the file of the report's card; give the network of pruning.sparsity, or run again"
        )


def require_same_weights(standalone: Path, portable: Path) -> None:
    """Refuse a standalone file that was made of another portable one.

    Raises:
        UserError: it was, or it changed since, or is too large.
    """
    made = read_json(manifest_path(standalone))
    if (made["sha256"], made["portable_sha256"]) != (sha256_of_file(standalone), sha256_of_file(portable)):
        raise UserError(f"{standalone}: is not made of {portable.name}; export it again with --standalone")
    require_small(standalone)


def require_small(path: Path) -> None:
    """Refuse what is too large for a repository.

    Raises:
        UserError: it is.
    """
    if path.stat().st_size >= MOST_BYTES:
        raise UserError(f"{path}: has {path.stat().st_size / 1e6:.2f} MB, 2 MB is too much; prune further")


def describe(path: Path, name: str) -> dict[str, Any]:
    """A file as the card has it."""
    return {"name": name, "size_bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def require_scored(workspace: Workspace, name: str, path: Path) -> EvaluationResult:
    """The scores of the exported file.

    Raises:
        UserError: the file is too large, not the one of its manifest, or changed after it was scored.
    """
    require_small(path)
    if read_json(manifest_path(path))["sha256"] != sha256_of_file(path):
        raise UserError(f"{path}: is not the file that its manifest describes; export the network again")
    scores = workspace.evaluation_folder(f"{name}-onnx") / "metrics.json"
    if not scores.exists() or scores.stat().st_mtime_ns < path.stat().st_mtime_ns:
        raise UserError(
            f"{scores}: not there, or older than the file; run `wcr-med evaluate --model {name} --onnx` first"
        )
    return EvaluationResult.load(scores)


def numbered(document: Any, numbers: Mapping[str, int]) -> Any:
    """A copy of a JSON document with "patient 1" for every identifier, wherever it stands in a text or key.

    Raises:
        UserError: an identifier is left.
    """
    pattern = re.compile("|".join(re.escape(name) for name in sorted(numbers, key=len, reverse=True)))
    text = pattern.sub(lambda found: f"patient {numbers[found.group()]}", json.dumps(document, ensure_ascii=False))
    left = pattern.search(text)
    if left:
        raise UserError(f"{left.group()}: still named; nothing was written")
    return json.loads(text)


def number_patients(pixels: Mapping[str, Pixels]) -> dict[str, int]:
    """Patients in the order of the hashes of their images, so that the number tells nothing of the name."""
    names = sorted(pixels, key=lambda name: pixels[name].image_sha256)
    return {name: place for place, name in enumerate(names, start=1)}


def rows_of(result: EvaluationResult, pixels: Mapping[str, Pixels], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """A row a test patient, recognised by the pixels alone; Dice is null where it does not exist."""
    rows = [
        {
            "number": numbers[row.patient_id],
            **asdict(pixels[row.patient_id]),
            "dice": row.dice if row.dice == row.dice else None,
        }
        for row in result.rows
    ]
    return sorted(rows, key=lambda row: int(row["number"]))


def cost(comparison: Mapping[str, Any]) -> str:
    """What pruning cost the patients, in a row of the short card."""
    paired = comparison["paired"]
    interval = paired["interval"]
    ends = f"{interval['low']:+.3f} to {interval['high']:+.3f}" if interval else "no interval"
    return (
        f"mean difference of Dice {paired['mean_difference']:+.3f} ({ends})"
        f" on the same {paired['n_patients']} patients; {paired['n_worse']} worse by more than {paired['worse_by']:g},"
        f" {paired['n_better']} better"
    )


def verdict(comparison: Mapping[str, Any]) -> str:
    """The report's verdict, word for word; of a record without one, why there is none."""
    given = comparison.get("verdict")
    return f"{given['short']}. {given['sentence']}" if given else NO_PLAN


def score(entry: Mapping[str, Any] | None, digits: int = 3, unit: str = "") -> str:
    """A figure with its interval: "0.844 (0.751 to 0.888)"."""
    if entry is None or entry["value"] is None:
        return "not in the record"
    text = f"{entry['value']:.{digits}f}{unit}"
    if entry["low"] is None or entry["high"] is None:
        return f"{text} (no interval)"
    return f"{text} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"


def weakest(name: str, metrics: Mapping[str, Any]) -> str:
    """The lowest mean Dice under a disturbance, and which one it is."""
    steps = [
        (step["dice"]["value"], curve, step)
        for curve in metrics["robustness"]
        if curve["network"] == name
        for step in curve["steps"]
        if step["strength"] > 0 and step["dice"]["value"] is not None
    ]
    if not steps:
        return "not measured"
    _, curve, step = min(steps, key=lambda found: float(found[0]))
    return f"{score(step['dice'])} under {curve['disturbance']} of strength {step['strength']:g}: {curve['unit']}"


def quality(name: str, metrics: Mapping[str, Any]) -> dict[str, str]:
    """The rows of the short card on how good the network is; all from the report's metrics.json."""
    network = next(entry for entry in metrics["networks"] if entry["name"] == name)
    comparison = next(entry for entry in metrics["comparisons"] if entry["network"] == name)
    scores, lesions = network["scores"], network["lesions"]
    n_hits = lesions["n_detected"]
    return {
        "Dice, mean over patients": score(scores.get("dice_patient")),
        "Dice of all pixels together": score(scores.get("f1_pooled")),
        "HD95, mean over patients": score(scores.get("mean_hd95_px"), 1, " px"),
        "lesions found (recall)": f"{n_hits} of {lesions['n_reference']}: {score(lesions['sensitivity'], 2)}",
        "predicted lesions that are real (precision)": f"{n_hits} of {n_hits + lesions['n_false']}:"
        f" {score(lesions['precision'], 2)}; {lesions['n_false']} false lesions in {metrics['n_patients']} patients",
        "slices without tumour that have an alarm": score(scores.get("false_positive_rate_free_slices")),
        "lowest Dice under a disturbance": weakest(name, metrics),
        "against its own dense network": cost(comparison),
        "verdict of non-inferiority": verdict(comparison),
    }


def page(stem: str, name: str, metadata: ModelMetadata, card: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The short card, in Markdown."""
    file, details, use = card["file"], card["model_details"], card["intended_use"]
    network, grid, commits = metadata.network, metadata.preprocess, details["commits"]
    confidence = metrics["statistics"]["confidence"]
    rows = {
        "name": f"{details['name']}: {details['title']}",
        "developers": details["developers"],
        "licence": details["licence"],
        "file": f"`{file['name']}`, {file['size_bytes'] / 1e6:.2f} MB, SHA-256 `{file['sha256']}`",
        "network": f"{network['name']}, {network['features']} features, {grid.height} x {grid.width} pixels",
        "sparsity of prunable weights": f"{metadata.sparsity['sparsity_prunable']:.4f}",
        "threshold": f"{metadata.threshold:g}, chosen on validation patients",
        **quality(name, metrics),
        "trained at": f"commit `{commits['training']}`, seed {details['seed']}",
        "exported at": f"commit `{commits['export']}`",
        "scored and reported at": f"commit `{commits['report']}`",
        "intended use": use["use"],
        "never": use["never"],
    }
    table = "\n".join(f"| {label} | {text.replace('|', '&#124;')} |" for label, text in rows.items())
    missing = "".join(f"\n- {sentence}" for sentence in card.get("not_in_the_record", ()))
    older = f"\n\nWhat the record of this network does not hold:\n{missing}" if missing else ""
    return f"""# {stem}

*{LICENCE} {NOT_A_DEVICE}*

Scored on {metrics["n_patients"]} patients that neither training nor the choice of the threshold saw.
In brackets: {100 * confidence:g} % intervals.

| | |
|---|---|
{table}{older}

All figures with their intervals, subgroups and limits: `{stem}.model_card.json`, `{stem}.metrics.json`.
"""


def publish(run: Path, name: str, target: Path, *, stem: str) -> list[Path]:
    """Write the files of one network; ONNX files last, so that they never stand without their card.

    Raises:
        UserError: see the top of this file. Nothing is written then.
    """
    workspace = open_workspace(run, config_path=None)
    path = workspace.onnx_path(name)
    if not path.exists():
        raise UserError(f"{path}: no such file; run `wcr-med export --out {run} --model {name}` first")
    with Segmenter.from_file(path) as segmenter:
        metadata = segmenter.metadata
    card, metrics = (read_json(run / "report" / f"{part}.json") for part in ("model_card", "metrics"))
    require_stated(card)
    require_committed(metadata, card)
    split = require_honest(workspace, name, metadata, metrics)
    result = require_scored(workspace, name, path)
    require_reported(card, path)
    entries = {entry.patient_id: entry for entry in index_patients(workspace.config.data)}
    if {row.patient_id for row in result.rows} != set(split.test) or not set(split.test) <= set(entries):
        raise UserError(f"{run}: the scores are not those of the split's test patients; evaluate again")
    pixels = {patient: Pixels.of(entry) for patient, entry in entries.items()}
    numbers = number_patients(pixels)
    copies = {target / f"{stem}.onnx": path}
    files = {"file": describe(path, f"{stem}.onnx")}
    if (standalone := standalone_path(path)).exists():
        require_same_weights(standalone, path)
        copies[target / f"{stem}.standalone.onnx"] = standalone
        files["standalone"] = describe(standalone, f"{stem}.standalone.onnx")
    rows = rows_of(result, pixels, numbers)
    made = metadata.provenance["network"]["commit"], metadata.provenance["export"]["commit"]
    card["model_details"]["commits"] |= dict(zip(("training", "export"), made, strict=True))
    whole = {**files, "licence": f"{LICENCE} {NOT_A_DEVICE}", "test_patients": rows, **numbered(card, numbers)}
    documents = {"model_card": whole, "metrics": numbered(metrics, numbers)}
    text = page(stem, name, metadata, whole, documents["metrics"])
    written = [target / f"{stem}.{part}.json" for part in documents]
    for place, document in zip(written, documents.values(), strict=True):
        write_json(place, document)
    write_text(target / f"{stem}.md", text)
    for place, source in copies.items():
        with atomic_path(place) as temporary:
            shutil.copyfile(source, temporary)
    return [*written, target / f"{stem}.md", *copies]


def tell_written(work: Callable[[], Iterable[Path]]) -> int:
    """Do the work of a command here and print the files that it wrote, or its one line of failure; the exit code."""
    try:
        written = work()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(str(path) for path in written))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder, finished and evaluated")
    parser.add_argument("--model", default="pruned-90")
    parser.add_argument("--out", type=Path, default=MODELS)
    given = parser.parse_args(arguments)
    return tell_written(lambda: publish(given.run, given.model, given.out, stem=f"lgg-{given.model}"))


if __name__ == "__main__":
    sys.exit(main())
