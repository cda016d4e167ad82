"""How many bytes a number takes, from the type of what an operator takes. Types of the ONNX operators, opset 13 on."""

from collections.abc import Sequence

from wcr_med.onnx_file.contents import Node, Tensor

_BYTES = {
    **dict.fromkeys((2, 3, 9), 1),  # uint8, int8, bool
    **dict.fromkeys((4, 5, 10, 16), 2),  # uint16, int16, float16, bfloat16
    **dict.fromkeys((1, 6, 12), 4),  # float, int32, uint32
    **dict.fromkeys((7, 11, 13, 14), 8),  # int64, double, uint64, complex64
}
_MOST_BYTES = 32  # of all others: a text without its characters is the largest

_OF_ONE_TYPE = {
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), 1),
    **dict.fromkeys(("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QuantizeLinear"), 4),
    "Shape": 8,
}
_AS_INPUT = {"DequantizeLinear": 1, "Where": 1}  # the first one, for operators that are not here


def bytes_of_type(data_type: int) -> int:
    """Of a number of ONNX's TensorProto.DataType; an upper bound for types that no weights have."""
    return _BYTES.get(data_type, _MOST_BYTES)


def result_bytes(node: Node, widths: Sequence[int]) -> int:
    """Of a number of each result, an upper bound.

    Args:
        node: of an operator in `shapes.RULES`.
        widths: bytes of a number of each input; 0 for one that is left out.
    """
    operator, attributes = node.op_type, node.attributes
    if operator in _OF_ONE_TYPE:
        return _OF_ONE_TYPE[operator]
    if operator == "Cast":
        target = attributes.get("to")
        return bytes_of_type(target) if isinstance(target, int) else _MOST_BYTES
    if operator in ("Constant", "ConstantOfShape"):
        value = next((value for value in attributes.values() if isinstance(value, Tensor)), None)
        if value is not None:
            return bytes_of_type(value.data_type)
        return 4 if operator == "ConstantOfShape" else 8
    place = _AS_INPUT.get(operator, 0)
    width = (widths[place] if place < len(widths) else 0) or _MOST_BYTES
    return max(width, 8) if operator == "MaxPool" and len(node.outputs) > 1 else width  # the second result are places
