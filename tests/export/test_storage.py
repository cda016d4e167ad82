"""What stands in the graph, decoded by ONNX Runtime."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given, settings
from onnx import numpy_helper

from tests.export.kernels import (
    FORMS,
    VALUES,
    Kernel,
    bit_kernels,
    image_for,
    laplace,
    one_layer,
    with_kernel_as_output,
)
from tests.exported import open_session
from wcr_med.errors import UserError
from wcr_med.export import dense_again, store
from wcr_med.export.storage import AUTO_FORMS, MIN_GAIN_BYTES, Form, Values, decode_kernel, encode_kernel


def decoded(model: onnx.ModelProto, kernel: Kernel, *, operator: str = "Conv", optimise: bool = True) -> Kernel:
    """The kernel that ONNX Runtime sees."""
    session = open_session(with_kernel_as_output(model), optimise=optimise)
    result: Kernel = session.run(["decoded"], {"x": image_for(kernel, operator=operator)})[0]
    return result


def run(model: onnx.ModelProto, kernel: Kernel, *, optimise: bool = True) -> npt.NDArray[np.float32]:
    result: npt.NDArray[np.float32] = open_session(model, optimise=optimise).run(None, {"x": image_for(kernel)})[0]
    return result


def special(shape: tuple[int, ...] = (7, 2, 3, 3)) -> Kernel:
    kernel = np.zeros(shape, np.float32)
    kernel.reshape(-1)[[0, 3, 4, -1]] = [-0.0, 1e-45, 3e38, -1.5]
    return kernel


KERNELS = {
    "sparse": laplace((64, 2, 3, 3), 0.05),
    "crowded": laplace((8, 4, 3, 3), 0.6),
    "full": laplace((4, 4, 1, 1), 1.0),
    "zeros": np.zeros((64, 2, 3, 3), np.float32),
    "one": special() * np.float32(0) + (np.arange(126).reshape(7, 2, 3, 3) == 100).astype(np.float32),
    "special": special(),
    "far apart": laplace((64, 64, 3, 3), 0.0005),
    "single": np.ones((1, 1, 1, 1), np.float32),
}


@pytest.mark.parametrize("optimise", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_graph_decodes_to_the_same_bits(kernel: Kernel, form: Form, optimise: bool) -> None:
    dense = one_layer(kernel)
    stored = store(dense, form)
    onnx.checker.check_model(stored.model, full_check=True)
    assert decoded(stored.model, kernel, optimise=optimise).tobytes() == kernel.tobytes()
    assert run(stored.model, kernel, optimise=optimise).tobytes() == run(dense, kernel, optimise=optimise).tobytes()


@pytest.mark.parametrize("form", FORMS[1:])
@given(kernel=bit_kernels())
@settings(max_examples=15, deadline=None)
def test_every_bit_survives(form: Form, kernel: Kernel) -> None:
    stored = store(one_layer(kernel), form)
    onnx.checker.check_model(stored.model, full_check=True)
    for optimise in (True, False):
        assert decoded(stored.model, kernel, optimise=optimise).tobytes() == kernel.tobytes()


@pytest.mark.parametrize("values", VALUES[1:])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("operator", "axis"), [("Conv", 0), ("ConvTranspose", 1)])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_rounded_values_decode_as_they_should(
    operator: str, axis: int, form: Form, values: Values, share: float
) -> None:
    kernel = laplace((12, 8, 3, 3), share)
    stored = store(one_layer(kernel, operator=operator), form, values)
    onnx.checker.check_model(stored.model, full_check=True)
    expected = decode_kernel(encode_kernel(kernel, values=values, scale_axis=axis), scale_axis=axis)
    for optimise in (True, False):
        assert decoded(stored.model, kernel, operator=operator, optimise=optimise).tobytes() == expected.tobytes()
    assert stored.tensors[0].values == values


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_onnx_runtime_keeps_nothing_but_the_float_operator(
    form: Form, values: Values, operator: str, tmp_path: Path
) -> None:
    stored = store(one_layer(laplace((16, 16, 3, 3), 0.3), operator=operator), form, values)
    for level in ("ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(stored.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(tmp_path / "optimised.onnx")
        layout = {"ReorderInput", "ReorderOutput"}
        assert {node.op_type for node in optimised.graph.node} - layout == {operator}
        types = {tensor.data_type for tensor in optimised.graph.initializer}
        assert types <= {onnx.TensorProto.FLOAT}  # none at all where a sparse constant stays one


@pytest.mark.parametrize(("reader", "axis", "shape"), [("Gemm(x, w)", 1, (4, 6)), ("MatMul(x, w)", 1, (4, 6)),
                                                       ("Gemm<transB = 1>(x, w)", 0, (6, 4))])  # fmt: skip
def test_scales_follow_the_output_channels(reader: str, axis: int, shape: tuple[int, ...]) -> None:
    kernel = laplace(shape, 1.0) * np.geomspace(1e-3, 1e3, 6, dtype=np.float32).reshape((6, 1) if axis == 0 else (1, 6))
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,6] y) {{ y = {reader} }}'
    )
    model.graph.initializer.append(numpy_helper.from_array(kernel, "w"))
    session = open_session(with_kernel_as_output(store(model, "dense", "int8").model))
    found = session.run(["decoded"], {"x": np.ones((1, 4), np.float32)})[0]
    largest = np.abs(kernel).max(axis=1 - axis, keepdims=True)
    assert (np.abs(found - kernel) <= largest / 254 * 1.001).all()


def two_layers(first: Kernel, second: Kernel) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,{first.shape[1]},8,8] x) => (float[N,M,H,W] y)'
        " { h = Conv(x, first) y = Conv(h, second) }"
    )
    model.graph.initializer.extend([numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")])
    return model


def test_auto_is_hardly_larger_than_any_single_form() -> None:
    for shares in ((0.05, 1.0), (0.004, 0.05), (0.0, 0.3), (0.7, 0.9)):
        first = laplace((64, 16, 3, 3), shares[0])
        model = two_layers(first, laplace((8, 64, 1, 1), shares[1]))
        for values in VALUES:
            auto = store(model, "auto", values)
            sizes = [store(model, form, values).model.ByteSize() for form in AUTO_FORMS]
            renounced = 4 * MIN_GAIN_BYTES  # of each kernel, and of each further form
            assert auto.model.ByteSize() <= min(sizes) + renounced + 2  # length prefixes of the graph
            onnx.checker.check_model(auto.model, full_check=True)
        lossless = store(model, "auto").model
        assert run(lossless, first).tobytes() == run(model, first).tobytes()


def test_auto_takes_what_suits_each_kernel() -> None:
    model = two_layers(laplace((512, 16, 3, 3), 0.05), laplace((8, 512, 1, 1), 1.0))
    stored = store(model, "auto")
    rows = {row.name: row for row in stored.tensors}
    assert {name: row.storage for name, row in rows.items()} == {"first": "rice", "second": "dense"}
    sizes = sum(row.dense_size_bytes - row.size_bytes for row in stored.tensors)
    shared_constants = 300
    assert 0 <= sizes - (model.ByteSize() - stored.model.ByteSize()) < shared_constants
    assert rows["first"].to_dict()["shape"] == [512, 16, 3, 3]
    assert rows["second"].n == rows["second"].n_stored == 4096
    assert rows["second"].position_bytes == rows["second"].position_bound_bytes == 0
    assert rows["first"].position_bound_bytes < rows["first"].position_bytes < 1.03 * rows["first"].position_bound_bytes


def test_what_decoders_share_counts_once_and_only_where_used() -> None:
    # Alone, so small a kernel does not pay for the shared constants of a decoder; beside a large one it may.
    small = laplace((16, 3, 3, 3), 0.3)
    alone = {row.storage for row in store(one_layer(small), "auto").tensors}
    assert alone == {"dense"}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("values", VALUES)
def test_auto_takes_a_form_for_a_real_gain_only_and_never_one_that_others_cannot_read(
    kernel: Kernel, values: Values
) -> None:
    if values != "fp32":
        kernel = np.clip(kernel, -9, 9)
    (row,) = store(one_layer(kernel), "auto", values).tensors
    dense = store(one_layer(kernel), "dense", values).model.ByteSize()
    assert row.storage in AUTO_FORMS
    if row.storage != "dense":
        assert dense - row.size_bytes >= MIN_GAIN_BYTES


def test_a_kernel_of_432_weights_stays_dense_beside_a_sparse_one() -> None:
    # Some hundred bytes could be saved, at the price of a decoder, or of a form that others cannot read.
    model = two_layers(laplace((16, 3, 3, 3), 0.5), laplace((256, 16, 3, 3), 0.1))
    rows = {row.name: row for row in store(model, "auto").tensors}
    assert (rows["first"].n, rows["first"].storage, rows["second"].storage) == (432, "dense", "rice")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_dense_again_to_the_last_bit(kernel: Kernel, form: Form) -> None:
    dense = one_layer(kernel)
    again = dense_again(store(dense, form).model)
    onnx.checker.check_model(again, full_check=True)
    (tensor,) = again.graph.initializer
    assert numpy_helper.to_array(tensor).tobytes() == kernel.tobytes()
    assert list(again.graph.node) == list(dense.graph.node)


def test_sparse_value_is_ascending_and_packed() -> None:
    stored = store(one_layer(KERNELS["sparse"]), "sparse_value").model
    constant = stored.graph.node[0]
    sparse = constant.attribute[0].sparse_tensor
    assert (constant.op_type, constant.output[0]) == ("Constant", "w")
    indices = np.array(sparse.indices.int64_data)
    assert (np.diff(indices) > 0).all()
    assert indices.tolist() == np.flatnonzero(KERNELS["sparse"]).tolist()
    assert not sparse.indices.raw_data
    assert sparse.indices.ByteSize() < 3 * indices.size


def test_dense_changes_nothing() -> None:
    model = one_layer(KERNELS["sparse"])
    assert store(model, "dense").model == model


@pytest.mark.parametrize("values", VALUES)
def test_what_is_no_kernel_stays_dense_and_float32(values: Values) -> None:
    model = one_layer(np.zeros((4, 2, 1, 1), np.float32))
    model.graph.node[0].input.append("b")
    model.graph.initializer.append(numpy_helper.from_array(np.full(4, 1 / 3, np.float32), "b"))
    stored = store(model, "gap8", values)
    assert [row.name for row in stored.tensors] == ["w"]
    bias = next(tensor for tensor in stored.model.graph.initializer if tensor.name == "b")
    assert numpy_helper.to_array(bias).tobytes() == np.full(4, 1 / 3, np.float32).tobytes()


def test_a_kernel_that_an_input_may_override_stays_dense() -> None:
    model = one_layer(KERNELS["sparse"])
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, (64, 2, 3, 3)))
    assert store(model, "rice").tensors == ()


def test_names_avoid_those_that_exist() -> None:
    model = one_layer(KERNELS["sparse"])
    model.graph.node.append(onnx.helper.make_node("Relu", ["y"], ["k0.code"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("k0.code", onnx.TensorProto.FLOAT, list("NCHW")))
    for form in FORMS:
        onnx.checker.check_model(store(model, form).model, full_check=True)


@pytest.mark.parametrize("values", VALUES)
def test_a_kernel_of_two_readers_is_decoded_once(values: Values) -> None:
    kernel = laplace((8, 8, 3, 3), 0.1)
    model = one_layer(kernel)
    model.graph.node.append(onnx.helper.make_node("ConvTranspose", ["y", "w"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, list("NCHW")))
    stored = store(model, "rice", values)
    assert [node.op_type for node in stored.model.graph.node].count("Split") == 1
    onnx.checker.check_model(stored.model, full_check=True)
    assert len(open_session(stored.model).run(None, {"x": image_for(kernel)})) == 2


def test_values_beyond_float16_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^w holds 1e\+05, more than float16"):
        store(one_layer(np.full((1, 2, 1, 1), 1e5, np.float32)), "auto", "fp16")


def test_leaves_its_argument_alone() -> None:
    model = one_layer(KERNELS["sparse"])
    before = model.SerializeToString()
    for form in FORMS:
        store(model, form, "int8")
    assert model.SerializeToString() == before
