"""Copy a network of a finished run here, with its model card and its report's figures, patients numbered.

    python models/publish.py RUN --model pruned-90

Writes lgg-pruned-90.onnx, .model_card.json, .md and .metrics.json, and lgg-pruned-90.standalone.onnx where the run has
that form of the same file (`wcr-med export --model pruned-90 --standalone`). Refused: a run whose network saw its test
patients, one made with uncommitted code, one on the phantom, a file that is not the one that was scored, or one of
2 MB and more.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.artefacts import load_model
from wcr_med.data.content import content_hash
from wcr_med.data.index import index_patients
from wcr_med.data.split import Split
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.files import atomic_path, read_json, sha256_of_file, write_json, write_text
from wcr_med.model_metadata import ModelMetadata
from wcr_med.runtime import Segmenter
from wcr_med.stages.export import manifest_path, standalone_path
from wcr_med.stages.workspace import Workspace, open_workspace

MODELS = Path(__file__).resolve().parent
MOST_BYTES = 2_000_000
LICENCE = (
    "Research use only. The weights were trained on images licensed CC BY-NC-SA 4.0 (TCGA-LGG; masks of Buda, Saha and"
    " Mazurowski 2019), and may be used and passed on under the same terms: not commercially, with attribution, alike."
)
NOT_A_DEVICE = "Not a medical device; not for diagnosis or treatment."


def require_committed(metadata: ModelMetadata, card: Mapping[str, Any]) -> None:
    """Refuse what cannot be made again from a commit: training, export or report.

    Raises:
        UserError: the commit of one is not known, or files differed from it.
    """
    commits = {name: metadata.provenance.get(name, {}).get("commit") for name in ("network", "export")}
    commits["report"] = card["model_details"]["commit"]
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


def number_patients(hashes: Mapping[str, str]) -> dict[str, int]:
    """Patients in the order of the hashes of their images, so that the number tells nothing of the name."""
    return {name: place for place, name in enumerate(sorted(hashes, key=lambda name: hashes[name]), start=1)}


def rows_of(result: EvaluationResult, hashes: Mapping[str, str], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """A row a test patient, recognised by the images alone; Dice is null where it does not exist."""
    rows = [
        {
            "number": numbers[row.patient_id],
            "content_sha256": hashes[row.patient_id],
            "dice": row.dice if row.dice == row.dice else None,
        }
        for row in result.rows
    ]
    return sorted(rows, key=lambda row: int(row["number"]))


def cost(name: str, metrics: Mapping[str, Any]) -> str:
    """What pruning cost the patients, in a row of the short card."""
    paired = next(entry["paired"] for entry in metrics["comparisons"] if entry["network"] == name)
    interval = paired["interval"]
    return (
        f"mean difference of Dice {paired['mean_difference']:+.3f}"
        f" ({interval['low']:+.3f} to {interval['high']:+.3f}) on the same {paired['n_patients']} patients;"
        f" {paired['n_worse']} worse by more than {paired['worse_by']:g},"
        f" {paired['n_better']} better; verdict at the margin of {paired['margin']:g}: {paired['verdict']}"
    )


def page(
    stem: str, metadata: ModelMetadata, result: EvaluationResult, card: Mapping[str, Any], *, cost_of_pruning: str
) -> str:
    """The short card, in Markdown."""
    dice, file = result.averages["dice_patient"], card["file"]
    made, network, grid = metadata.provenance["network"], metadata.network, metadata.preprocess
    return f"""# {stem}

*{LICENCE} {NOT_A_DEVICE}*

| | |
|---|---|
| file | `{file["name"]}`, {file["size_bytes"] / 1e6:.2f} MB, SHA-256 `{file["sha256"]}` |
| network | {network["name"]}, {network["features"]} features, {grid.height} x {grid.width} pixels |
| sparsity of prunable weights | {metadata.sparsity["sparsity_prunable"]:.4f} |
| threshold | {metadata.threshold:g}, chosen on validation patients |
| `dice_patient` | {dice.value:.4f} on {len(result.rows)} unseen patients |
| `f1_pooled` | {result.value("f1_pooled"):.4f} |
| against its own dense network | {cost_of_pruning} |
| commit, seed | `{made["commit"]}`, {made["seed"]} |
| intended use | {card["intended_use"]["use"]} |
| never | {card["intended_use"]["never"]} |

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
        raise UserError(f"{path}: no such file; run `wcr-med export --model {name}` first")
    with Segmenter.from_file(path) as segmenter:
        metadata = segmenter.metadata
    card, metrics = (read_json(run / "report" / f"{part}.json") for part in ("model_card", "metrics"))
    require_committed(metadata, card)
    split = require_honest(workspace, name, metadata, metrics)
    result = require_scored(workspace, name, path)
    require_reported(card, path)
    entries = {entry.patient_id: entry for entry in index_patients(workspace.config.data)}
    hashes = {patient: content_hash([entry]) for patient, entry in entries.items()}
    if {row.patient_id for row in result.rows} != set(split.test) or not set(split.test) <= set(hashes):
        raise UserError(f"{run}: the scores are not those of the split's test patients; evaluate again")
    numbers = number_patients(hashes)
    copies = {target / f"{stem}.onnx": path}
    files = {"file": describe(path, f"{stem}.onnx")}
    if (standalone := standalone_path(path)).exists():
        require_same_weights(standalone, path)
        copies[target / f"{stem}.standalone.onnx"] = standalone
        files["standalone"] = describe(standalone, f"{stem}.standalone.onnx")
    rows = rows_of(result, hashes, numbers)
    whole = {**files, "licence": f"{LICENCE} {NOT_A_DEVICE}", "test_patients": rows, **numbered(card, numbers)}
    documents = {"model_card": whole, "metrics": numbered(metrics, numbers)}
    text = page(stem, metadata, result, whole, cost_of_pruning=cost(name, metrics))
    written = [target / f"{stem}.{part}.json" for part in documents]
    for place, document in zip(written, documents.values(), strict=True):
        write_json(place, document)
    write_text(target / f"{stem}.md", text)
    for place, source in copies.items():
        with atomic_path(place) as temporary:
            shutil.copyfile(source, temporary)
    return [*written, target / f"{stem}.md", *copies]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder, finished and evaluated")
    parser.add_argument("--model", default="pruned-90")
    parser.add_argument("--out", type=Path, default=MODELS)
    given = parser.parse_args(arguments)
    try:
        written: Iterable[Path] = publish(given.run, given.model, given.out, stem=f"lgg-{given.model}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
