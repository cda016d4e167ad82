from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from tests.export.programs import (
    Array,
    accelerated_session,
    checked,
    evaluate,
    feed_for,
    kernel,
    parse,
)
from tests.exported import open_session
from wcr_med import native
from wcr_med.export.partition import assemble, partition, profile_output
from wcr_med.export.program import Form, Kind, Program, decode_program
from wcr_med.export.storage import EncodedKernel, encode_kernel
from wcr_med.native import DOMAIN

W, V = kernel(2, 2, 3, 3), kernel(2, 2, 1, 1)
BIAS = np.array([0.5, -0.5], np.float32)


def test_a_shared_constant_lies_in_the_file_once() -> None:
    body = "c = Conv(x, v, b) s = Sigmoid(c) d = Conv(s, v, b) e = ConvTranspose(d, v) n = Neg(b) y = Add(e, e)"
    model = parse(body, out="float[N,2,H,W] y, float[2] n", v=V, b=BIAS)
    after = assemble(checked(model))
    names = [tensor.name for tensor in after.graph.initializer]
    assert len(names) == len(set(names))
    assert sum("values" in name for name in names) == 2  # one in each orientation
    assert "b" in names  # for the reader outside


@pytest.mark.parametrize("storage", ["dense", "gap8", "rice"])
@pytest.mark.parametrize(("values", "tolerance"), [("fp32", 1e-5), ("fp16", 1e-2), ("int8", 0.1)])
def test_forms_and_types_of_stored_kernels(
    storage: Literal["dense", "gap8", "rice"], values: Literal["fp32", "fp16", "int8"], tolerance: float
) -> None:
    model = parse("c = Conv(x, w) y = ConvTranspose(c, v)", v=kernel(8, 3, 1, 1), w=kernel(8, 2, 3, 3, density=0.05))

    def encode(weights: Array, axis: int) -> EncodedKernel:
        return encode_kernel(weights, storage=storage, values=values, scale_axis=axis)

    after = assemble(partition(model), encode=encode)
    assert {op.form.name.lower() for op in program_of(after).convolutions.values()} == {storage}
    feed = feed_for(model)
    wanted = open_session(model, optimise=False).run(None, feed)[0]
    np.testing.assert_allclose(evaluate(after, feed)[0], wanted, atol=tolerance)
    if native.is_available():
        np.testing.assert_allclose(accelerated_session(after).run(None, feed)[0], wanted, atol=tolerance)


def test_each_kernel_takes_its_smallest_form() -> None:
    model = parse("c = Conv(x, w) y = Conv(c, v)", v=kernel(2, 8, 1, 1), w=kernel(8, 2, 3, 3, density=0.05))
    forms = [op.form for op in program_of(assemble(partition(model))).convolutions.values()]
    assert forms[1] == Form.DENSE
    assert forms[0] in (Form.GAP8, Form.RICE)


def program_of(model: ModelProto) -> Program:
    node = next(node for node in model.graph.node if node.domain == DOMAIN)
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return decode_program(values["program"], values["inputs"])


def test_kinds_and_profile() -> None:
    model = parse("c = Conv(x, w) y = Conv(c, v)", v=V, w=W)
    result = partition(model)
    name = result.subgraphs[0].name
    after = assemble(result, kinds={(name, 1): Kind.SPARSE, (name, 0): Kind.WINOGRAD4}, profile=True)
    onnx.checker.check_model(after, full_check=True)
    assert [op.kind for op in program_of(after).convolutions.values()] == [Kind.WINOGRAD4, Kind.SPARSE]
    assert after.graph.output[-1].name == profile_output(result.subgraphs[0])
    assert evaluate(after, feed_for(model))[-1].shape == (2,)
