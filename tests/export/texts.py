"""Small graphs from text."""

from typing import Any

import numpy.typing as npt
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper

_HEADER = '<ir_version: 8, opset_import: ["" : 18]> g '


def parse_graph(body: str, *, inputs: str, out: str, **constants: npt.NDArray[Any]) -> ModelProto:
    """A checked model with these constants as initializers; types may use free sizes."""
    model = onnx.parser.parse_model(f"{_HEADER} ({inputs}) => ({out}) {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model
