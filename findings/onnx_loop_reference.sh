#!/usr/bin/env bash
# The reference evaluator of ONNX joins what a Loop yields along the first axis, where the standard stacks it on a new one.
#
# onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6. A Loop of 3 rounds whose scan output is a matrix of (2, 4) a round has an output
# of (3, 2, 4) by the standard (https://onnx.ai/onnx/operators/onnx__Loop.html: "each scan_output ... [is] the concatenation of the
# value at the end of each iteration", with one dimension more) and in ONNX Runtime. `onnx.reference` gives (6, 4), since it calls
# numpy.vstack, which adds an axis to vectors alone. Scalars and vectors a round are right, which hides it. So a graph whose Loop
# yields slices cannot be checked with the reference evaluator.
#
# Output seen:
#   round of (4,): reference (3, 4), ONNX Runtime (3, 4)
#   round of (2, 4): reference (6, 4), ONNX Runtime (3, 2, 4)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/try.py" <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def loop(shape):
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["part"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("on", TensorProto.BOOL, []), value("part", TensorProto.FLOAT, shape)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "yes"], ["y"], body=body)],
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, [3, *shape])],
        [numpy_helper.from_array(np.array(3, np.int64), "n"), numpy_helper.from_array(np.array(True), "yes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model, full_check=True)
    return model


found = {}
for shape in ([4], [2, 4]):
    model, feed = loop(shape), {"x": np.ones(shape, np.float32)}
    reference = ReferenceEvaluator(model).run(None, feed)[0].shape
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime = session.run(None, feed)[0].shape
    print(f"round of {tuple(shape)}: reference {reference}, ONNX Runtime {runtime}")
    found[tuple(shape)] = reference, runtime
assert found == {(4,): ((3, 4), (3, 4)), (2, 4): ((6, 4), (3, 2, 4))}, found
PY
"$folder/env/bin/python" "$folder/try.py"
