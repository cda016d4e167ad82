"""Which public tools read and rewrite the exported files, in which form? Writes the tables into docs/runtimes.md.

    python -m venv ENV && ENV/bin/pip install -r benchmarks/readers.txt
    python benchmarks/readers.py RUN --model pruned-90 --python ENV/bin/python --docs docs/runtimes.md

RUN is a run folder. Its network is exported to a temporary folder in each form of `--storage`, and as standalone and
INT8 files. Each tool gets each file in a process of its own, in ENV (`readers_worker.py`): what it computes, or what
ONNX Runtime computes with the file that it writes, is compared with ONNX Runtime on the file itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.readers_worker import TOOLS
from benchmarks.runtimes import placed
from wcr_med.config import ExportConfig
from wcr_med.data.index import load_volume
from wcr_med.export import export_model, export_quantised, standalone_of
from wcr_med.files import write_text
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.networks import open_model
from wcr_med.stages.workspace import open_workspace

BEGIN, END = "<!-- made by benchmarks/readers.py -->", "<!-- end of readers -->"
WORKER = Path(__file__).with_name("readers_worker.py")
STORAGE = ("auto", "dense", "gap8", "rice", "sparse_value")
_SECONDS = 900


def main() -> None:
    """Read the arguments, fill the table, print or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--model", default="pruned-90")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter that has the tools")
    parser.add_argument("--docs", type=Path, help="page with the markers to write between; default: print")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = exported(arguments.run, arguments.model, Path(folder))
        sizes = {name: path.stat().st_size for name, path in files.items()}
        text = table(answers(files, arguments.python), versions(arguments.python), sizes)
    print(text)
    if arguments.docs is not None:
        page = arguments.docs.read_text(encoding="utf-8")
        write_text(arguments.docs, placed(page, text, begin=BEGIN, end=END))


def exported(run: Path, name: str, folder: Path) -> dict[str, Path]:
    """The files by what they are called in the table."""
    workspace = open_workspace(run, config_path=None)
    patients = open_patients(workspace)
    model, artefact = open_model(workspace, name)
    test = [load_volume(entry) for entry in patients.of(patients.split.test)[:2]]
    config, files = workspace.config.export, {}
    for storage in STORAGE:
        wanted = ExportConfig(**{**config.model_dump(), "storage": storage, "parity_slices": 4})
        files[f"portable, {storage}"] = folder / f"{storage}.onnx"
        export_model(model, artefact, wanted, parity_volumes=test, out_path=folder / f"{storage}.onnx")
    portable = folder / "auto.onnx"
    files["standalone"] = folder / "auto.standalone.onnx"
    standalone_of(portable, files["standalone"], volumes=test, n_slices=1)
    files["INT8"] = folder / "auto.int8.onnx"
    learned = [load_volume(entry) for entry in patients.of(patients.split.train)[:4]]
    loose = {"quantised_dice_tolerance": 1.0, "quantised_voxel_tolerance": 1.0, "storage": "auto", "parity_slices": 4}
    export_quantised(
        model,
        artefact,
        ExportConfig(**{**config.model_dump(), **loose}),
        portable=portable,
        calibration_volumes=learned,
        parity_volumes=lambda: test,
        out_path=files["INT8"],
    )
    return files


def versions(python: Path) -> dict[str, str | None]:
    """Of each tool in that environment."""
    done = subprocess.run([python, WORKER, "--versions"], capture_output=True, text=True, check=True)
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def answers(files: Mapping[str, Path], python: Path) -> dict[str, dict[str, str]]:
    """File -> tool -> what came of it, for the tools that are there."""
    tools = [tool for tool, version in versions(python).items() if version is not None]
    found: dict[str, dict[str, str]] = {}
    for name, path in files.items():
        found[name] = {}
        for tool in tools:
            found[name][tool] = ask(tool, path, python)
            print(f"{name}, {tool}: {found[name][tool]}", file=sys.stderr)
    return found


def ask(tool: str, path: Path, python: Path) -> str:
    """One answer, whatever the tool does to its process."""
    command = [python, WORKER, tool, path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no: not done in {_SECONDS} s"
    if done.returncode:
        return f"no: its process ended with {done.returncode}"
    answer: str = json.loads(done.stdout)["answer"]
    return answer


def table(found: Mapping[str, Mapping[str, str]], versions: Mapping[str, str | None], sizes: Mapping[str, int]) -> str:
    """A row a tool, a column a file; what is not "yes" is numbered and told below."""
    notes: list[str] = []
    lines = [f"| | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]
    lines.append("| file, kB | " + " | ".join(f"{sizes[name] / 1000:.0f}" for name in found) + " |")
    for tool, version in versions.items():
        if version is None:
            continue
        cells = []
        for name in found:
            answer = found[name][tool]
            if answer == "yes":
                cells.append("yes")
                continue
            note = f"{TOOLS[tool][0]}: {answer}"
            if note not in notes:
                notes.append(note)
            cells.append(f"no ({notes.index(note) + 1})")
        lines.append(f"| {TOOLS[tool][0]} {version} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]) + "\n"


if __name__ == "__main__":
    main()
