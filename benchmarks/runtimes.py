"""Which runtimes load the exported files, and do they find the same? Writes the matrix into docs/runtimes.md.

    python benchmarks/runtimes.py RUN/export/pruned-90.onnx PATIENT... --docs docs/runtimes.md

PATIENT is a folder in kaggle_3m layout. Files that lie beside the portable one are tried too: NAME.standalone.onnx,
made for the occasion where it is missing, and NAME.accelerated.onnx. onnxruntime-web runs in Node.js and takes part
where npm does: its packages are those of examples/web. Every row is compared with the portable file in ONNX Runtime.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino

from wcr_med import native
from wcr_med.export import standalone_of
from wcr_med.files import write_text
from wcr_med.model_metadata import INPUTS, METADATA_KEY, OUTPUTS, ModelMetadata
from wcr_med.preprocess import binarise, predict_volume
from wcr_med.runtime import session
from wcr_med.volumes import Volume
from wcr_med.volumes.kaggle import read_kaggle_patient

Array = npt.NDArray[Any]
Run = Callable[[dict[str, Array], Sequence[str]], list[Array]]
"""(inputs by name, names of outputs) -> outputs."""

BEGIN, END = "<!-- made by benchmarks/runtimes.py -->", "<!-- end -->"
WORKER = Path(__file__).with_name("runtimes_worker.mjs")
WEB = Path(__file__).parents[1] / "examples" / "web"
KINDS = ("portable", "standalone", "accelerated")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime: its name with the version, and how it loads a file; it raises what it likes."""

    name: str
    open: Callable[[Path], Run]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of one file in one runtime; `problem` is why it does not run."""

    problem: str | None = None
    difference: float = 0.0
    n_differing: int = 0
    n_voxels: int = 0

    def __str__(self) -> str:
        if self.problem is not None:
            return f"no: {self.problem}"
        masks = "masks identical" if not self.n_differing else f"{self.n_differing} of {self.n_voxels:,} voxels differ"
        return f"yes; probabilities {f'within {self.difference:.1e}' if self.difference else 'identical'}, {masks}"


def onnx_runtime() -> Runtime:
    """The wheel alone."""

    def load(path: Path) -> Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda feed, names: opened.run(list(names), feed)

    return Runtime(name=f"ONNX Runtime {onnxruntime.__version__}", open=load)


def accelerator() -> Runtime:
    """The wheel with this package's library."""

    def load(path: Path) -> Run:
        opened = session(path)
        return lambda feed, names: opened.run(list(names), feed)

    return Runtime(name=f"ONNX Runtime {onnxruntime.__version__} with the accelerator", open=load)


def openvino_cpu() -> Runtime:
    """OpenVINO's plugin for the CPU, in float32."""

    def load(path: Path) -> Run:
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(feed: dict[str, Array], names: Sequence[str]) -> list[Array]:
            results = compiled(feed)
            return [results[compiled.output(name)] for name in names]

        return run

    return Runtime(name=f"OpenVINO {openvino.__version__.split('-')[0]}", open=load)


def onnxruntime_web(packages: Path, node: str) -> Runtime:
    """WebAssembly, in Node.js."""
    version = json.loads((packages / "node_modules/onnxruntime-web/package.json").read_text())["version"]

    def load(path: Path) -> Run:
        def run(feed: dict[str, Array], names: Sequence[str]) -> list[Array]:
            job = {"model": str(path.resolve()), "outputs": list(names), "packages": str(packages.resolve())}
            with tempfile.TemporaryDirectory() as name:
                return in_node(node, Path(name), job, feed)

        return run

    return Runtime(name=f"onnxruntime-web {version}", open=load)


def in_node(node: str, folder: Path, job: dict[str, Any], feed: dict[str, Array]) -> list[Array]:
    """Run a job in a process of its own; arrays go there and back as files."""
    for name, values in feed.items():
        np.ascontiguousarray(values).tofile(folder / name)
    inputs = {name: {"type": str(values.dtype), "dims": values.shape} for name, values in feed.items()}
    (folder / "job.json").write_text(json.dumps({**job, "inputs": inputs}))
    result = subprocess.run([node, str(WORKER), str(folder)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip())
    found = json.loads(result.stdout)
    return [
        np.fromfile(folder / f"{name}.out", dtype=found[name]["type"]).reshape(found[name]["dims"])
        for name in job["outputs"]
    ]


def main() -> None:
    """Read the arguments, fill the matrix, print or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the portable file")
    parser.add_argument("patients", type=Path, nargs="+", help="folders in kaggle_3m layout")
    parser.add_argument("--docs", type=Path, help="page with the markers to write between; default: print")
    arguments = parser.parse_args()
    volumes = [read_kaggle_patient(folder, with_mask=False) for folder in arguments.patients]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = model_files(arguments.model, volumes, work)
        table = matrix(files, volumes, list(runtimes(work)))
    n_slices = sum(len(volume.names) for volume in volumes)
    patients = f"{len(volumes)} patient{'s' if len(volumes) > 1 else ''}"
    table += (
        f"\n`{arguments.model.name}`, {arguments.model.stat().st_size / 1e6:.2f} MB; {n_slices} slices of {patients}. "
        "Made by `python benchmarks/runtimes.py MODEL PATIENT... --docs docs/runtimes.md`.\n"
    )
    print(table)
    if arguments.docs is not None:
        write_text(arguments.docs, placed(arguments.docs.read_text(encoding="utf-8"), table))


def model_files(portable: Path, volumes: Sequence[Volume], work: Path) -> dict[str, Path]:
    """The files by kind; an accelerated one that is only a copy of the portable one is left out."""
    files = {"portable": portable, "standalone": portable.with_suffix(".standalone.onnx")}
    if not files["standalone"].exists():
        files["standalone"] = work / files["standalone"].name
        standalone_of(portable, files["standalone"], volumes=volumes[:1], n_slices=1)
    accelerated = portable.with_suffix(".accelerated.onnx")
    if accelerated.exists() and accelerated.read_bytes() != portable.read_bytes():
        files["accelerated"] = accelerated
    return files


def runtimes(work: Path) -> Iterator[Runtime]:
    """Those that are here."""
    yield onnx_runtime()
    if native.is_available():
        yield accelerator()
    yield openvino_cpu()
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        print("onnxruntime-web is left out: it needs Node.js and npm", file=sys.stderr)
        return
    packages = WEB
    if not (WEB / "node_modules").is_dir():
        packages = work / "web"
        packages.mkdir()
        shutil.copy(WEB / "package.json", packages)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        if subprocess.run(command, cwd=packages, capture_output=True, check=False).returncode:
            print("onnxruntime-web is left out: npm install failed", file=sys.stderr)
            return
    yield onnxruntime_web(packages, node)


def matrix(files: dict[str, Path], volumes: Sequence[Volume], found: Sequence[Runtime]) -> str:
    """A Markdown table, a row a runtime."""
    opened = session(files["portable"])
    document = opened.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    metadata = ModelMetadata.from_json(document, source=str(files["portable"]))
    reference = onnx_runtime().open(files["portable"])
    expected = [probability(reference, volume, metadata) for volume in volumes]
    kinds = [kind for kind in KINDS if kind in files]
    lines = ["| | " + " | ".join(kinds) + " |", "|---" * (1 + len(kinds)) + "|"]
    for runtime in found:
        cells = [str(cell(runtime, kind, files[kind], volumes, expected, metadata)) for kind in kinds]
        lines.append("| " + " | ".join([runtime.name, *cells]) + " |")
        print(lines[-1], file=sys.stderr)
    return "\n".join(lines) + "\n"


def cell(
    runtime: Runtime,
    kind: str,
    path: Path,
    volumes: Sequence[Volume],
    expected: Sequence[Array],
    metadata: ModelMetadata,
) -> Cell:
    """Segment every volume with one file in one runtime."""
    difference, differing, voxels = 0.0, 0, 0
    try:
        run = runtime.open(path)
        for volume, expected_SHW in zip(volumes, expected, strict=True):
            if kind == "standalone":
                mask_SHW, found_SHW = run({"image": volume.image_SHWC}, ["mask", "probability"])
            else:
                found_SHW = probability(run, volume, metadata)
                mask_SHW = binarise(found_SHW, metadata.threshold)
            difference = float(np.maximum(difference, np.abs(found_SHW - expected_SHW).max()))
            differing += int((mask_SHW != binarise(expected_SHW, metadata.threshold)).sum())
            voxels += mask_SHW.size
    except Exception as error:  # noqa: BLE001  # runtimes' exceptions have no common base, and any is a finding
        return Cell(problem=reason(error))
    return Cell(difference=difference, n_differing=differing, n_voxels=voxels)


def probability(run: Run, volume: Volume, metadata: ModelMetadata) -> Array:
    """What a file without preprocessing inside finds, with that of this package."""

    def forward(*arrays: Array) -> Array:
        return run(dict(zip(INPUTS, arrays, strict=True)), [OUTPUTS[1]])[0][:, 0]

    # All slices at once: a new process a call is dear.
    return predict_volume(volume.image_SHWC, metadata.preprocess, forward, batch_size=len(volume.names))


def reason(error: Exception) -> str:
    """Why a file does not run, for a cell of the table."""
    text = str(error)
    if native.OPERATOR in text or native.DOMAIN in text:
        return "its operator is not known there"
    return text.strip().splitlines()[0].replace("|", "/")[:120] if text.strip() else type(error).__name__


def placed(page: str, table: str, *, begin: str = BEGIN, end: str = END) -> str:
    """The page with the table between its markers."""
    if begin not in page or end not in page:
        raise SystemExit(f"the page has no lines {begin} and {end} to write between")
    head, rest = page.split(begin, 1)
    return f"{head}{begin}\n\n{table}\n{end}{rest.split(end, 1)[1]}"


if __name__ == "__main__":
    main()
