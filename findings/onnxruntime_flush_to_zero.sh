#!/usr/bin/env bash
# Opening an ONNX Runtime session with session.set_denormal_as_zero changes the arithmetic of the thread that opens it, for good.
#
# onnxruntime 1.32.0, numpy 2.4.6, Linux on x86-64. The option is documented for the session's own threads. The first session of a
# process also sets flush-to-zero and denormals-are-zero of the calling thread, and leaves them so after the session is gone: in
# numpy and in plain Python a denormal number times 1 is 0 there from then on. A session that is opened by another thread leaves the
# caller's as it was, and so does every later session of the process.
#
# Output seen:
#   before: 1e-40 * 1 is 9.99994610111476e-41, 1e-310 * 1.0 is 1e-310
#   session opened by another thread: 1e-40 * 1 is 9.99994610111476e-41, 1e-310 * 1.0 is 1e-310
#   before: 1e-40 * 1 is 9.99994610111476e-41, 1e-310 * 1.0 is 1e-310
#   session opened here, and deleted: 1e-40 * 1 is 0.0, 1e-310 * 1.0 is 0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/try.py" <<'PY'
import sys
import threading

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def show(when):
    small, tiny = np.float32(1e-40) * np.float32(1), float("1e-310") * 1.0
    print(f"{when}: 1e-40 * 1 is {small}, 1e-310 * 1.0 is {tiny}")
    return small != 0 and tiny != 0


value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["y"])],
    "g",
    [value("x", TensorProto.FLOAT, [1])],
    [value("y", TensorProto.FLOAT, [1])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def open_session():
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


assert show("before")
if sys.argv[1] == "apart":
    thread = threading.Thread(target=open_session)
    thread.start()
    thread.join()
    assert show("session opened by another thread")
else:
    open_session()
    assert not show("session opened here, and deleted")
PY
"$folder/env/bin/python" "$folder/try.py" apart
"$folder/env/bin/python" "$folder/try.py" here
