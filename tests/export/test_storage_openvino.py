"""OpenVINO is no dependency: where it is installed, it has to read every form."""

import numpy as np
import onnx
import pytest

from tests.export.kernels import FORMS, VALUES, image_for, laplace, one_layer
from tests.exported import SIZE, open_session, small_network
from wcr_med.export import build_graph, store
from wcr_med.export.storage import Form, Storage, Values
from wcr_med.preprocess import PreprocessSettings

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")


def outputs(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    results = compiled(feed)
    return [results[index] for index in range(len(compiled.outputs))]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.6])
def test_openvino_reads_every_form(form: Form, values: Values, share: float) -> None:
    for operator in ("Conv", "ConvTranspose"):
        kernel = laplace((16, 16, 3, 3), share)
        model = store(one_layer(kernel, operator=operator), form, values).model
        feed = {"x": image_for(kernel, operator=operator)}
        expected = open_session(model).run(None, feed)[0]
        np.testing.assert_allclose(outputs(model, feed)[0], expected, atol=1e-4)


@pytest.fixture(scope="module")
def dense() -> onnx.ModelProto:
    settings = PreprocessSettings(height=SIZE, width=SIZE)
    return build_graph(small_network(), settings, in_channels=3, storage="dense").model


@pytest.mark.parametrize(("storage", "values"), [("auto", "fp32"), ("rice", "fp32"), ("auto", "int8")])
def test_openvino_answers_as_onnx_runtime_does(dense: onnx.ModelProto, storage: Storage, values: Values) -> None:
    model = store(dense, storage, values).model
    image = np.random.default_rng(0).uniform(0, 255, (2, 3, SIZE, SIZE)).astype(np.float32)
    feed = {"image": image, "centre": np.full(3, 100, np.float32), "spread": np.full(3, 50, np.float32)}
    for found, expected in zip(outputs(model, feed), open_session(model).run(None, feed), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)
