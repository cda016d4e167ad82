#!/usr/bin/env bash
# One Constant with sparse_value makes an ONNX file unreadable for most tools, though ONNX's full check accepts it.
#
# onnx 1.23.2, onnxruntime 1.32.0, onnx-ir 1.1.0, onnxscript 0.7.2, onnxsim 0.8.1, onnxoptimizer 0.4.2, onnxslim 0.1.98, openvino
# 2026.4.1. The attribute is in the standard since opset 11 (https://onnx.ai/onnx/operators/onnx__Constant.html). The checker with
# full_check, ONNX Runtime and OpenVINO take the kernel of a convolution in that form. Of eight tools that read or rewrite files, seven
# raise, and onnxslim writes a file that ONNX Runtime does not load. No message names the node.
#
# Output seen (ends of lines cut):
#   checker: yes
#   onnxruntime: yes
#   openvino: yes
#   version converter: no: ConvertError
#   reference evaluator: no: TypeError
#   onnx-ir: no: SerdeError
#   onnxscript optimizer: no: SerdeError
#   quant_pre_process: no: AttributeError
#   onnxsim: no: RuntimeError
#   onnxoptimizer: no: RuntimeError
#   onnxslim: no: Fail
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 onnx-ir==1.1.0 onnxscript==0.7.2 \
    onnxsim==0.8.1 onnxoptimizer==0.4.2 onnxslim==0.1.98 openvino==2026.4.1 sympy
cat > "$folder/try.py" <<'PY'
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what tools print is not part of the output
folder = Path(sys.argv[1])
kernel = np.zeros((4, 3, 3, 3), np.float32)
kernel.reshape(-1)[[1, 20, 50, 90]] = [0.5, -1.0, 2.0, 0.25]
places = np.flatnonzero(kernel)
sparse = helper.make_sparse_tensor(
    helper.make_tensor("w", TensorProto.FLOAT, [places.size], kernel.reshape(-1)[places].tolist()),
    helper.make_tensor("places", TensorProto.INT64, [places.size], places.tolist()),
    kernel.shape,
)
value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Constant", [], ["w"], sparse_value=sparse), helper.make_node("Conv", ["x", "w"], ["y"])],
    "g",
    [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
    [value("y", TensorProto.FLOAT, [1, 4, 6, 6])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
path, target = folder / "sparse.onnx", folder / "out.onnx"
onnx.save(model, path)
feed = {"x": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}


def run(file):
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, feed)[0]


expected = run(path)


def rewritten(changed):
    onnx.save(changed, target)
    return run(target)


def openvino():
    import openvino as vino

    compiled = vino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(feed)[compiled.output(0)]


def reference():
    import onnx.reference

    return onnx.reference.ReferenceEvaluator(model).run(None, feed)[0]


def converter():
    from onnx import version_converter

    return rewritten(version_converter.convert_version(model, 19))


def onnx_ir():
    import onnx_ir as ir

    ir.save(ir.load(path), target)
    return run(target)


def optimizer():
    import onnxscript.optimizer

    return rewritten(onnxscript.optimizer.optimize(model))


def quantisation():
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(path, target)
    return run(target)


def onnxsim():
    import onnxsim as tool

    return rewritten(tool.simplify(model)[0])


def onnxoptimizer():
    import onnxoptimizer as tool

    return rewritten(tool.optimize(model))


def onnxslim():
    import onnxslim as tool

    return rewritten(tool.slim(onnx.load(path)))


TOOLS = {
    "checker": (lambda: onnx.checker.check_model(str(path), full_check=True), "yes"),
    "onnxruntime": (lambda: run(path), "yes"),
    "openvino": (openvino, "yes"),
    "version converter": (converter, "ConvertError"),
    "reference evaluator": (reference, "TypeError"),
    "onnx-ir": (onnx_ir, "SerdeError"),
    "onnxscript optimizer": (optimizer, "SerdeError"),
    "quant_pre_process": (quantisation, "AttributeError"),
    "onnxsim": (onnxsim, "RuntimeError"),
    "onnxoptimizer": (onnxoptimizer, "RuntimeError"),
    "onnxslim": (onnxslim, "Fail"),
}
wrong = []
for name, (tool, usual) in TOOLS.items():
    try:
        found = tool()
        answer = "yes" if found is None or np.allclose(found, expected, atol=1e-5) else "other numbers"
    except Exception as error:
        answer = type(error).__name__
    answers.write(f"{name}: {answer if answer == 'yes' else f'no: {answer}'}\n")
    wrong += [name] if answer != usual else []
answers.close()
sys.exit(f"changed: {', '.join(wrong)}" if wrong else 0)
PY
"$folder/env/bin/python" "$folder/try.py" "$folder" 2> "$folder/log" || { tail -n 3 "$folder/log"; exit 1; }
