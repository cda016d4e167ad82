"""Model files that nobody vouches for: what is wrong in them is said, and nothing else happens."""

import os
import re
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from tests.native import node
from wcr_med import native

pytestmark = pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")

Array = npt.NDArray[Any]

_ERRORS = (ort_errors.RuntimeException, ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.InvalidGraph)
_WEIGHT = np.ones((2, 3, 3, 3), dtype=np.float32)
_LARGEST = 2**63 - 1


def _floats(*shape: int) -> Array:
    return np.ones(shape, dtype=np.float32)


def _bytes(*values: int) -> Array:
    return np.array(values, dtype=np.uint8)


def _one(weight: int = 1, c_in: int = 3, c_out: int = 2, **fields: Any) -> list[int]:
    return node.program(node.conv(weight, c_in, c_out, fields.pop("kernel", (3, 3)), **fields), outputs=[[1]])


def _other(*ops: list[int], outputs: tuple[tuple[int, ...], ...] = ((1,),)) -> list[int]:
    return node.program(*ops, outputs=outputs)


def _ones_at(*positions: int) -> list[Array]:
    """Rice code without low bits: a one at each position."""
    return [np.zeros(0, dtype=np.uint8), node.bits(positions), np.array(0, dtype=np.int64), _floats(len(positions))]


_CODE = _ones_at(0, 5)
_WRONG: dict[str, tuple[list[int], list[Array], str]] = {
    # The text.
    "text of one word": ([1], [], "field number of operations: the program ends"),
    "version": ([2, 1], [], r"field version: 2 is not in \[1, 1\]"),
    "no operations": ([1, 0, 1, 1, 0], [], r"field number of operations: 0 is not in \[1, 4096\]"),
    "many operations": ([1, _LARGEST], [], "field number of operations"),
    "opcode": ([1, 1, 9, 0], [], r"operation 0, field opcode: 9 is not in \[1, 6\]"),
    "no fields": ([1, 1, 1], [], "operation 0 .conv., field number of fields: the program ends"),
    "fields beyond the end": ([1, 1, 1, 100, 0], [], "the program ends within its fields"),
    "negative fields": ([1, 1, 1, -1], [], "field number of fields: -1"),
    "too few fields": ([1, 1, 4, 2, 0, 1, 1, 1, 1], [], "operation 0 .upsample., field factor_w: the program ends"),
    "too many fields": ([1, 1, 4, 4, 0, 1, 1, 7, 1, 1, 1], [], "operation 0 .upsample., 1 words too many"),
    "words after the outputs": ([*_one(), 3], [_WEIGHT], "1 words too many"),
    "no outputs": ([*_one()[:-3], 0], [_WEIGHT], "field number of outputs: 0"),
    "output without sources": ([*_one()[:-2], 0], [_WEIGHT], "output 0, field number of sources: 0"),
    "output of no value": ([*_one()[:-1], 2], [_WEIGHT], r"output 0, field source: 2 is not in \[0, 1\]"),
    # Values.
    "own result": (_one(sources=(1,)), [_WEIGHT], r"field source: 1 is not in \[0, 0\]"),
    "negative source": (_one(sources=(-1,)), [_WEIGHT], "field source: -1"),
    "no source": (_one(sources=()), [_WEIGHT], "field number of sources: 0"),
    "later residual": (_one(residual=1), [_WEIGHT], "field residual: 1"),
    "later term": (_other(node.op(node.ADD, 0, 1, 0, -1)), [], "operation 0 .add., field second: 1"),
    # Numbers.
    "form": (_one(form=3), [_WEIGHT], r"field form: 3 is not in \[0, 2\]"),
    "kind": (_one(kind=5), [_WEIGHT], "field kind: 5"),
    "activation": (_one(activation=3), [_WEIGHT], "field activation: 3"),
    "stride": (_one(strides=(0, 1)), [_WEIGHT], r"field stride_h: 0 is not in \[1, 255\]"),
    "transposed stride": (
        _one(opcode=node.CONV_TRANSPOSE, strides=(33, 1)),
        [_WEIGHT],
        r"operation 0 \(conv_transpose\), field stride_h: 33 is not in \[1, 32\]",
    ),
    "dilation": (_one(dilations=(1, -1)), [_WEIGHT], "field dilation_w: -1"),
    "huge dilation": (_one(dilations=(_LARGEST, 1)), [_WEIGHT], "field dilation_h"),
    "pad": (_one(pads=(0, 0, -1, 0)), [_WEIGHT], "field pad_bottom: -1"),
    "huge pad": (_one(pads=(0, 0, 0, 2**40)), [_WEIGHT], "field pad_right"),
    "kernel": (_one(kernel=(0, 3)), [_WEIGHT], "field kernel_h: 0"),
    "output padding": (_one(output_padding=(1, 0)), [_WEIGHT], r"field output_padding_h: 1 is not in \[0, 0\]"),
    "channels": (_one(c_in=0), [_WEIGHT], "field c_in: 0"),
    "huge channels": (_one(c_out=2**40), [_WEIGHT], "field c_out"),
    "huge kernel": (_one(c_in=65536, c_out=65536, form=node.GAP8), [_bytes(), _floats(0)], "more weights than"),
    "factor": (_other(node.op(node.UPSAMPLE, 0, 0, 1)), [], "field factor_h: 0"),
    "pool padding": (_other(node.op(node.MAX_POOL, 0, 2, 2, 2, 2, 2, 0, 0, 0)), [], r"pad_top: 2 is not in \[0, 1\]"),
    # Tensors.
    "weight is a data input": (_one(weight=0), [_WEIGHT], "field weight: values is input 0, but constants are"),
    "weight beyond": (_one(weight=2), [_WEIGHT], "values is input 2, but constants are inputs 1 to 1"),
    "weight none": (_one(weight=-1), [_WEIGHT], "field weight: -1"),
    "weight size": (_one(), [_floats(2, 3, 3, 2)], "values has 36 elements, expected 54"),
    "weight type": (_one(), [_WEIGHT.astype(np.int64)], "values must be a tensor of float32, float16 or int8"),
    "int8 without scale": (_one(), [_WEIGHT.astype(np.int8)], "scale is input 2"),
    "scale size": (_one(), [_WEIGHT.astype(np.int8), _floats(3)], "scale has 3 elements, expected 2"),
    "bias size": (_one(bias=2), [_WEIGHT, _floats(3)], "field bias: has 3 elements, expected 2"),
    "bias type": (_one(bias=2), [_WEIGHT, _bytes(1, 2)], "field bias: bias must be a tensor of float32 or float16"),
    "slope missing": (_one(activation=2), [_WEIGHT], "field slope: activation 2 needs it"),
    "slope unused": (_one(slope=2), [_WEIGHT, _floats(1)], "field slope: given, but activation is not 2"),
    "slope size": (_one(activation=2, slope=2), [_WEIGHT, _floats(3)], "slope: has 3 elements, expected 1 or 2"),
    # Stored kernels.
    "gap of zero": (_one(form=node.GAP8), [_bytes(1, 0), _floats(2)], "field weight: gap 1 is 0"),
    "gaps beyond": (_one(form=node.GAP8), [_bytes(55), _floats(1)], "gap 0 leads to position 54 of 54"),
    "gaps and values": (_one(form=node.GAP8), [_bytes(1), _floats(2)], "gaps has 1 elements, expected 2"),
    "gap type": (_one(form=node.GAP8), [_floats(2), _floats(2)], "gaps must be a tensor of uint8"),
    "gaps alone": (_one(form=node.GAP8), [_bytes(1)], "values is input 2"),
    "low bits": (_one(form=node.RICE), [_bytes(1), *_CODE[1:]], "low bits has 1 elements, expected 0"),
    "too few ones": (_one(form=node.RICE), [_CODE[0], _bytes(1), *_CODE[2:]], "high bits hold 1 ones, expected 2"),
    "too many ones": (_one(form=node.RICE), [_CODE[0], _bytes(0b10101), *_CODE[2:]], "hold more than 2 ones"),
    "position beyond": (_one(form=node.RICE), _ones_at(0, 54), "position 54 is beyond a kernel of 54"),
    "high bits beyond": (_one(form=node.RICE), _ones_at(0, 80), "high bits lead beyond the kernel"),
    "low bits beyond": (
        _one(form=node.RICE),
        [_bytes(50, 3), _bytes(3), np.array(8, dtype=np.int64), _floats(2)],
        "position 54 is beyond a kernel of 54",
    ),
    "low bits all ones": (
        _one(form=node.RICE),
        [np.full(8, 255, dtype=np.uint8), _bytes(3), np.array(31, dtype=np.int64), _floats(2)],
        "position 2147483647 is beyond a kernel of 54",
    ),
    "low bits too short": (
        _one(form=node.RICE),
        [_bytes(1), _bytes(3), np.array(5, dtype=np.int64), _floats(2)],
        "low bits has 1 elements, expected 2",
    ),
    "low bits number": (
        _one(form=node.RICE),
        [*_CODE[:2], np.array(32, dtype=np.int64), _CODE[3]],
        r"number of low bits is 32, not in \[0, 31\]",
    ),
    "low bits numbers": (
        _one(form=node.RICE),
        [*_CODE[:2], np.array([0, 0], dtype=np.int64), _CODE[3]],
        "number of low bits has 2 elements, expected 1",
    ),
    # What cannot be computed.
    "winograd of a 1x1 kernel": (_one(kernel=(1, 1), kind=3), [_floats(2, 3, 1, 1)], "operation 0: Winograd needs"),
}


@pytest.mark.parametrize("case", _WRONG.values(), ids=_WRONG)
def test_damaged_programs_are_refused(case: tuple[list[int], list[Array], str]) -> None:
    words, tensors, message = case
    with pytest.raises(_ERRORS, match=message):
        node.open_session(node.model(words, tensors))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"inputs": 0}, "attribute inputs: 0, but the node has 2"),
        ({"inputs": 3}, "attribute inputs: 3, but the node has 2"),
        ({"inputs": -(2**63)}, "attribute inputs"),
        ({"inputs": 2}, "values is input 1, but constants are inputs 2 to 1"),
        ({"inputs": None}, "attribute inputs"),
        ({"inputs": "two"}, "attribute inputs"),
        ({"program": None}, "attribute program"),
        ({"program": "text"}, "field version: the program ends"),
        ({"profile": 2}, "attribute profile: 2 is not 0 or 1"),
        ({"profile": 1}, "the node has 1 outputs, its program 1 and the profile"),
    ],
)
def test_damaged_attributes_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(_ERRORS, match=message):
        node.open_session(node.model(_one(), [_WEIGHT], **attributes))


def test_number_of_outputs() -> None:
    with pytest.raises(_ERRORS, match="the node has 2 outputs, its program 1"):
        node.open_session(node.model(_one(), [_WEIGHT], n_outputs=2))


def test_tensor_that_is_no_constant() -> None:
    made = node.model(_one(), [_WEIGHT])
    made.graph.input.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, _WEIGHT.shape))
    with pytest.raises(_ERRORS, match="input 1 is not a constant"):
        node.open_session(made)


def test_unknown_instruction_set() -> None:
    with patch.dict(os.environ, WCR_MED_ISA="mmx"), pytest.raises(_ERRORS, match="instruction set 'mmx' is not there"):
        node.open_session(node.model(_one(), [_WEIGHT]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_floats(1, 4, 8, 8), "its kernel takes 3 channels, its sources have 4"),
        (_floats(3, 8, 8), r"input 0 must be float32 of rank 4 \(N, C, H, W\)"),
        (_floats(1, 3, 2, 8), "nothing is left of its map"),
        (_floats(1, 3, 0, 8), "an input is empty"),
    ],
)
def test_inputs_that_do_not_fit(x: Array, message: str) -> None:
    session = node.open_session(node.model(_one(), [_WEIGHT]))
    with pytest.raises(_ERRORS, match=message):
        session.run(None, {"x0": x})
    assert session.run(None, {"x0": _floats(1, 3, 8, 8)})[0].shape == (1, 2, 6, 6)  # and it goes on working


def test_terms_of_other_shapes() -> None:
    words = _other(node.op(node.ADD, 0, 1, 0, -1), outputs=((2,),))
    session = node.open_session(node.model(words, [], n_inputs=2))
    for other in (_floats(1, 2, 4, 4), _floats(1, 3, 4, 5), _floats(2, 3, 4, 4)):
        with pytest.raises(_ERRORS, match=r"wcr_med\.Network: "):
            session.run(None, {"x0": _floats(1, 3, 4, 4), "x1": other})


def test_growth_without_end_is_refused() -> None:
    ops = [node.op(node.UPSAMPLE, i, 64, 64) for i in range(40)]
    session = node.open_session(node.model(_other(*ops, outputs=((40,),)), []))
    with pytest.raises(_ERRORS, match="operation 3: its map has a side of more than"):
        session.run(None, {"x0": _floats(1, 1, 1, 1)})


def test_zeros_without_end_are_refused() -> None:
    """A kilobyte can ask for any number of weights by naming one tensor again and again."""
    op = node.conv(1, 4096, 4096, (3, 3), form=node.GAP8)
    words = _other(*[op] * 3, outputs=((1,),))
    with pytest.raises(_ERRORS, match=r"operation 1 \(conv\), field weight: the program has more weights"):
        node.open_session(node.model(words, [_bytes(1), _floats(1)]))


def test_packed_zeros_without_end_are_refused() -> None:
    """Winograd's kernels take many times the room of the weights they are made from."""
    op = node.conv(1, 65536, 1, (3, 3), form=node.GAP8, kind=4)
    words = _other(*[op] * 300, outputs=((1,),))
    with pytest.raises(_ERRORS, match="dense and Winograd kernels would take more than 4 GiB"):
        node.open_session(node.model(words, [_bytes(1), _floats(1)]))


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_any_damage_ends_in_an_error_or_a_result(data: st.DataObject) -> None:
    tensors = [_bytes(5, 40), _floats(2), _floats(2)]
    words = _other(
        node.conv(1, 3, 2, (3, 3), form=node.GAP8, bias=3, activation=1, pads=(1, 1, 1, 1)),
        node.op(node.MAX_POOL, 1, 2, 2, 2, 2, 0, 0, 0, 0),
        node.op(node.UPSAMPLE, 2, 2, 2),
        node.op(node.ADD, 3, 1, 1, -1),
        outputs=((4, 1),),
    )
    number = st.integers(-2, 12) | st.sampled_from([255, 256, 2**16, 2**31, 2**62, -(2**63)])
    for _ in range(data.draw(st.integers(1, 3))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(number)
    said = None
    try:
        result = node.run(node.model(words, tensors), _floats(1, 3, 8, 8))
    except _ERRORS as error:
        said = str(error)
    assert result[0].ndim == 4 if said is None else re.search(r"wcr_med\.Network: \S", said)
