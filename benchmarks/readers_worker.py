"""One public tool on one ONNX file, in a process of its own: `python readers_worker.py TOOL MODEL`, or `--versions`.

Needs onnxruntime, numpy and the tool, and nothing of this package, so that it runs in an environment that holds the
tools alone (`readers.txt`). Prints one line of JSON: `{"answer": "yes"}`, or why not.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
VOXELS = 1e-3
"""Share of a mask's voxels that may differ from those of ONNX Runtime."""

Feed = Mapping[str, Array]

TOLERANCE = 1e-3
"""Largest difference of an output to that of ONNX Runtime; sums in another order make some 1e-5 of the logits."""


def feed_for(model: Path) -> dict[str, Array]:
    """Inputs of the graph, the same each time: a bright head with a brighter spot; means, stds."""
    import onnxruntime

    feed: dict[str, Array] = {}
    opened = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for value in opened.get_inputs():
        free = dict(enumerate((2, 48, 48, 3) if value.type == "tensor(uint8)" else (1,)))
        shape = [size if isinstance(size, int) else free[axis] for axis, size in enumerate(value.shape)]
        if value.type == "tensor(uint8)":  # a standalone file takes whole volumes of any size, channels last
            feed[value.name] = head(*shape).astype(np.uint8)
        elif len(shape) == 1:
            feed[value.name] = np.linspace(40, 80, shape[0], dtype=np.float32)
        else:
            n, channels, rows, columns = shape
            feed[value.name] = np.ascontiguousarray(head(n, rows, columns, channels).transpose(0, 3, 1, 2))
    return feed


def head(n: int, rows: int, columns: int, channels: int) -> Array:
    """Smooth slices (n, rows, columns, channels) of 0 to 255, float32."""
    row_HW, column_HW = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    inside_HW = row_HW**2 + column_HW**2 < 0.8
    spot_HW = 90 * np.exp(-20 * ((row_HW - 0.3) ** 2 + (column_HW + 0.2) ** 2))
    image_HW = inside_HW * (110 + 30 * np.cos(3 * row_HW) * np.sin(2 * column_HW) + spot_HW)
    scale_NC = 1 - 0.1 * np.arange(n * channels).reshape(n, 1, 1, channels) / (n * channels)
    scaled: Array = (image_HW[None, :, :, None] * scale_NC).astype(np.float32)
    return scaled


def in_onnx_runtime(model: Path, feed: Feed) -> list[Array]:
    """The outputs, in the graph's order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    opened = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return list(opened.run(None, dict(feed)))


def checker(model: Path, _: Feed, __: Path) -> None:
    """ONNX's own full check."""
    import onnx

    onnx.checker.check_model(str(model), full_check=True)


def version_converter(model: Path, _: Feed, target: Path) -> Path:
    """To the next operator set."""
    import onnx
    from onnx import version_converter as converter

    loaded = onnx.load(model)
    (opset,) = [entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx")]
    onnx.save(converter.convert_version(loaded, opset + 1), target)
    return target


def reference(model: Path, feed: Feed, _: Path) -> list[Array]:
    """ONNX's reference evaluator, in numpy."""
    import onnx.reference

    return list(onnx.reference.ReferenceEvaluator(str(model)).run(None, dict(feed)))


def onnx_ir(model: Path, _: Feed, target: Path) -> Path:
    """Read and written."""
    import onnx_ir

    onnx_ir.save(onnx_ir.load(model), target)
    return target


def onnxscript_optimizer(model: Path, _: Feed, target: Path) -> Path:
    """Constants folded, functions inlined."""
    import onnx
    import onnxscript.optimizer

    onnx.save(onnxscript.optimizer.optimize(onnx.load(model)), target)
    return target


def onnxsim(model: Path, _: Feed, target: Path) -> Path:
    """Simplified."""
    import onnx
    import onnxsim as simplifier

    simplified, _ = simplifier.simplify(onnx.load(model))
    onnx.save(simplified, target)
    return target


def onnxoptimizer(model: Path, _: Feed, target: Path) -> Path:
    """Its default passes."""
    import onnx
    import onnxoptimizer as optimizer

    onnx.save(optimizer.optimize(onnx.load(model)), target)
    return target


def onnxslim(model: Path, _: Feed, target: Path) -> Path:
    """Slimmed."""
    import onnx
    import onnxslim as slimmer

    onnx.save(slimmer.slim(onnx.load(model)), target)
    return target


def quant_pre_process(model: Path, _: Feed, target: Path) -> Path:
    """What ONNX Runtime asks for before a model is quantised."""
    from onnxruntime.quantization.shape_inference import quant_pre_process as prepare

    prepare(model, target)
    return target


def openvino(model: Path, feed: Feed, _: Path) -> list[Array]:
    """Its plugin for the CPU, in float32."""
    import openvino as vino

    compiled = vino.Core().compile_model(str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(feed))
    return [found[output] for output in compiled.outputs]


def onnx_runtime(model: Path, feed: Feed, _: Path) -> list[Array]:
    """The wheel alone."""
    return in_onnx_runtime(model, feed)


Tool = Callable[[Path, Feed, Path], "Path | list[Array] | None"]
"""(model, inputs, a path to write to) -> the file that the tool wrote, or the outputs that it computed, or nothing."""

TOOLS: dict[str, tuple[str, str, Tool]] = {
    "onnx_runtime": ("ONNX Runtime", "onnxruntime", onnx_runtime),
    "openvino": ("OpenVINO", "openvino", openvino),
    "checker": ("ONNX checker, full", "onnx", checker),
    "version_converter": ("ONNX version converter", "onnx", version_converter),
    "reference": ("ONNX reference evaluator", "onnx", reference),
    "onnx_ir": ("onnx-ir", "onnx-ir", onnx_ir),
    "onnxscript_optimizer": ("onnxscript optimizer", "onnxscript", onnxscript_optimizer),
    "quant_pre_process": ("ONNX Runtime `quant_pre_process`", "onnxruntime", quant_pre_process),
    "onnxsim": ("onnxsim", "onnxsim", onnxsim),
    "onnxoptimizer": ("onnxoptimizer", "onnxoptimizer", onnxoptimizer),
    "onnxslim": ("onnxslim", "onnxslim", onnxslim),
}
"""Key -> name in the table, package, function."""


def answer(tool: str, model: Path) -> str:
    """What came of it: "yes", or in a few words why not."""
    feed = feed_for(model)
    expected = in_onnx_runtime(model, feed)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.onnx"
        try:
            found = TOOLS[tool][2](model, feed, target)
        except Exception as error:  # noqa: BLE001 - tools' exceptions have no common base, and any is an answer
            return f"no: {shown(error)}"
        if found is None:
            return "yes"
        try:
            outputs = in_onnx_runtime(found, feed) if isinstance(found, Path) else found
        except Exception as error:  # noqa: BLE001
            return f"writes a file that does not load: {shown(error)}"
    return compared(expected, outputs)


def compared(expected: list[Array], found: list[Array]) -> str:
    """Say "yes" where outputs are those of ONNX Runtime on the file itself, up to `TOLERANCE`."""
    difference = 0.0
    for one, other in zip(expected, found, strict=True):
        if one.shape != other.shape:
            return f"other outputs: shape {list(other.shape)} instead of {list(one.shape)}"
        if one.dtype == np.uint8:  # a mask: voxels on the threshold may change sides
            if (one != other).mean() > VOXELS:
                return f"other outputs: {(one != other).sum()} of {one.size} voxels differ"
            continue
        wide = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
        difference = float(np.maximum(difference, wide))
    return "yes" if difference <= TOLERANCE else f"other outputs: by {difference:.2g}"


def shown(error: BaseException) -> str:
    """An error in a few words, for a cell of a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text.replace("|", "/")[:110]


def versions() -> dict[str, str | None]:
    """Of the package of each tool; `None` where it is not installed."""
    found: dict[str, str | None] = {}
    for tool, (_, package, _) in TOOLS.items():
        try:
            found[tool] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[tool] = None
    return found


def main() -> None:
    """Answer on the standard output that the process was given; what tools print goes elsewhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    result = versions() if sys.argv[1] == "--versions" else {"answer": answer(sys.argv[1], Path(sys.argv[2]))}
    answers.write(json.dumps(result) + "\n")
    answers.close()


if __name__ == "__main__":
    main()
