"""Reading what an ONNX file holds, without ONNX Runtime and without its weights."""

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.onnx_file.checksum import checked_sha256, require_sealed_if_promised
from wcr_med.onnx_file.contents import MAX_KNOWN_VALUES, AttributeValue, ModelContents, Node, Shape, Tensor
from wcr_med.onnx_file.wire import DamagedError, Meter, fields, signed, varints

MAX_FILE_BYTES = 512 * 2**20
"""Of a file that is read at all: 134 million float32 weights, kept dense."""

MAX_METADATA_BYTES = 2**20
"""Of one metadata value."""

_MAX_AXES = 16
_MAX_TEXT_BYTES = 4096  # of a name
_PACKING = {1: ("f", 4, 4), 6: ("i", 4, 5), 7: ("q", 8, 7)}  # TensorProto.DataType -> code, bytes, field
_RAW, _EXTERNAL_LIST, _LOCATION, _EXTERNAL = 9, 13, 14, 1


def read_contents(path: Path | str) -> ModelContents:
    """Read what an ONNX file holds, weights apart, once its bytes have been found to be those of its checksum.

    Time is bounded by the file's size and `wire.MAX_FIELDS`, whatever it claims, and memory by about its size; its
    bytes are let go at the end.

    Raises:
        UserError: no such file, cannot be read, larger than `MAX_FILE_BYTES`, not a whole ONNX model, or one
            whose bytes are not those that its checksum was taken of (see `wcr_med.onnx_file.checksum`).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give an ONNX file that `wcr-med export` wrote")
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UserError(
                    f"{path}: {size} bytes, and model files have at most {MAX_FILE_BYTES}; give a file that "
                    "`wcr-med export` wrote"
                )
            # Read, not mapped: a map of a file that another process cuts meanwhile would end this one.
            content = stream.read(size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    contents = ModelContents(path=path, size_bytes=size, sha256=checked_sha256(content, source=str(path)))
    try:
        _Reader(contents).model(memoryview(content))
    except DamagedError as error:
        raise UserError(
            f"{path}: not a whole ONNX model ({error}); copy it again or export the network again"
        ) from None
    require_sealed_if_promised(contents.metadata, contents.sha256, source=str(path))
    return contents


class _Reader:
    """Walks the messages of ONNX's onnx.proto. Field numbers are those of that file."""

    def __init__(self, contents: ModelContents) -> None:
        self.contents = contents
        self.meter = Meter()

    def model(self, message: memoryview) -> None:
        once = _Once("ModelProto")
        has_graph = False
        for number, value in fields(message, self.meter):
            if number == 1:
                self.contents.ir_version = signed(_number(value))
            elif number == 2:
                self.contents.producer = _text(value)
            elif number == 7:
                once(number)
                has_graph = True
                self.graph(_view(value))
            elif number == 8:
                domain, version = self.opset(_view(value))
                if self.contents.opsets.setdefault(domain, version) != version:
                    raise DamagedError(f"two versions of the operators of {domain!r}")
            elif number == 14:
                self.metadata(_view(value))
            elif number == 20:
                self.contents.has_training_info = True
            elif number == 25:
                self.contents.n_functions += 1
        if not has_graph or not self.contents.ir_version:
            raise DamagedError("it has no graph or no version")

    def opset(self, message: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for number, value in fields(message, self.meter):
            if number == 1:
                domain = _text(value)
            elif number == 2:
                version = signed(_number(value))
        return "" if domain == "ai.onnx" else domain, version

    def metadata(self, message: memoryview) -> None:
        key, content = "", ""
        for number, value in fields(message, self.meter):
            if number == 1:
                key = _text(value)
            elif number == 2:
                content = _text(value, most=MAX_METADATA_BYTES)
        if key in self.contents.metadata:
            raise DamagedError(f"two metadata named {key!r}")
        self.contents.metadata[key] = content

    def graph(self, message: memoryview) -> None:
        for number, value in fields(message, self.meter):
            if number == 1:
                node = self.node(_view(value))
                self.contents.nodes.append(node)
                self.contents.op_types[node.domain, node.op_type] += 1
            elif number in (5, 15):
                read = self.tensor if number == 5 else self.sparse
                self.contents.initializers.append(read(_view(value)))
            elif number == 11:
                name, shape = self.value_info(_view(value))
                self.contents.inputs[name] = shape
            elif number == 12:
                self.contents.outputs.append(self.value_info(_view(value))[0])

    def node(self, message: memoryview) -> Node:
        inputs, outputs = [], []
        texts = {4: "", 7: ""}
        attributes: dict[str, AttributeValue] = {}
        for number, value in fields(message, self.meter):
            if number == 1:
                inputs.append(_text(value))
            elif number == 2:
                outputs.append(_text(value))
            elif number in texts:
                texts[number] = _text(value)
            elif number == 5:
                name, content = self.attribute(_view(value))
                if name in attributes:
                    raise DamagedError(f"a node with two attributes named {name!r}")
                attributes[name] = content
        domain = "" if texts[7] == "ai.onnx" else texts[7]
        return Node(
            domain=domain, op_type=texts[4], inputs=tuple(inputs), outputs=tuple(outputs), attributes=attributes
        )

    def attribute(self, message: memoryview) -> tuple[str, AttributeValue]:
        name, single, many = "", None, list[int]()
        once = _Once("AttributeProto")
        for number, value in fields(message, self.meter):
            if number == 1:
                name = _text(value)
            elif number == 2:
                single = struct.unpack("<f", _view(value, 4))[0]
            elif number == 3:
                single = signed(_number(value))
            elif number == 4:
                single = bytes(_view(value)[:_MAX_TEXT_BYTES]).decode("utf-8", "replace")
            elif number in (5, 22):
                once(5)
                single = self.tensor(_view(value)) if number == 5 else self.sparse(_view(value))
            elif number == 8:
                many += self.integers(value)
            elif number in (6, 11):
                self.contents.n_subgraphs += 1
            elif number in (10, 23):
                read = self.tensor if number == 10 else self.sparse
                read(_view(value))
        return name, tuple(many) if many else single

    def tensor(self, message: memoryview) -> Tensor:
        dims, data_type, held, external, name = list[int](), 0, 0, False, ""
        data = dict[int, memoryview | list[int]]()
        for number, value in fields(message, self.meter):
            if number == 1:
                dims += self.integers(value)
            elif number == 2:
                data_type = signed(_number(value))
            elif number in (4, 5, 6, 7, 10, 11, _RAW):
                # Numbers that are not packed take a field each.
                held += len(value) if isinstance(value, memoryview) and number != 6 else 8
                if isinstance(value, memoryview):
                    data[number] = value
                else:
                    data.setdefault(number, [])
                    known = data[number]
                    if isinstance(known, list) and len(known) <= MAX_KNOWN_VALUES:
                        known.append(value)
            elif number == 8:
                name = _text(value)
            elif number == _EXTERNAL_LIST or (number == _LOCATION and value == _EXTERNAL):
                external = True
        return self._counted(
            Tensor(
                name=name,
                dims=_dims(dims),
                data_type=data_type,
                held_bytes=held,
                external=external,
                values=_small_values(data_type, math.prod(dims), data),
            )
        )

    def sparse(self, message: memoryview) -> Tensor:
        once = _Once("SparseTensorProto")
        before = self.contents.declared_elements
        dims, held, external, data_type, name = list[int](), 0, False, 0, ""
        for number, value in fields(message, self.meter):
            if number in (1, 2):
                once(number)
                part = self.tensor(_view(value))
                held += part.held_bytes
                external |= part.external
                name, data_type = (part.name, part.data_type) if number == 1 else (name, data_type)
            elif number == 3:
                dims += self.integers(value)
        self.contents.declared_elements = before  # the zeros count, instead of the parts
        return self._counted(
            Tensor(name=name, dims=_dims(dims), data_type=data_type, held_bytes=held, external=external, sparse=True)
        )

    def value_info(self, message: memoryview) -> tuple[str, Shape | None]:
        name, shape = "", None
        for number, value in fields(message, self.meter):
            if number == 1:
                name = _text(value)
            elif number == 2:
                shape = self.shape(_view(value))
        return name, shape

    def shape(self, type_message: memoryview) -> Shape | None:
        axes: list[int | None] | None = None
        for kind, tensor in fields(type_message, self.meter):  # TypeProto
            if kind != 1:
                continue
            for number, shape in fields(_view(tensor), self.meter):  # TypeProto.Tensor
                if number != 2:
                    continue
                axes = axes or []
                for _, axis in fields(_view(shape), self.meter):  # TensorShapeProto
                    sizes = [signed(_number(size)) for key, size in fields(_view(axis), self.meter) if key == 1]
                    axes.append(sizes[-1] if sizes else None)
        return None if axes is None else tuple(axes)

    def integers(self, value: int | memoryview) -> list[int]:
        """One integer or many that are packed, as int64; each counts as a field."""
        if isinstance(value, int):
            return [signed(value)]
        found = varints(value, most=self.meter.left)
        if found is None:
            raise DamagedError("too many numbers")
        self.meter.left -= len(found)
        return [signed(entry) for entry in found]

    def _counted(self, tensor: Tensor) -> Tensor:
        self.contents.declared_elements += tensor.n_elements
        self.contents.has_external_data |= tensor.external
        return tensor


class _Once:
    """Refuses a part that stands twice in a message: readers merge the two, in ways that differ."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._seen: set[int] = set()

    def __call__(self, number: int) -> None:
        if number in self._seen:
            raise DamagedError(f"{self._message} with two values for field {number}")
        self._seen.add(number)


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise DamagedError("bytes where a number belongs")
    return value


def _view(value: int | memoryview, length: int | None = None) -> memoryview:
    if isinstance(value, int) or (length is not None and len(value) != length):
        raise DamagedError("a number where bytes belong")
    return value


def _text(value: int | memoryview, *, most: int = _MAX_TEXT_BYTES) -> str:
    view = _view(value)
    if len(view) > most:
        raise DamagedError(f"a text of {len(view)} bytes, at most {most} are read")
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        raise DamagedError("a text that is not UTF-8") from None


def _dims(dims: list[int]) -> tuple[int, ...]:
    if len(dims) > _MAX_AXES or any(size < 0 for size in dims):
        raise DamagedError(f"a constant of {len(dims)} axes, or of negative size")
    return tuple(dims)


def _small_values(
    data_type: int, n_elements: int, data: Mapping[int, memoryview | list[int]]
) -> tuple[float, ...] | None:
    """The values of a small constant of a type in `_PACKING`; `None` for others, and where they are not so many."""
    if data_type not in _PACKING or n_elements > MAX_KNOWN_VALUES or len(data) > 1:
        return None
    code, size, key = _PACKING[data_type]
    for number, content in data.items():
        if number not in (_RAW, key):
            return None
        if code == "f" or number == _RAW:
            if not isinstance(content, memoryview) or len(content) != n_elements * size:
                return None
            return struct.unpack(f"<{n_elements}{code}", content)
        found = varints(content, most=MAX_KNOWN_VALUES) if isinstance(content, memoryview) else content
        return tuple(signed(value) for value in found) if found is not None and len(found) == n_elements else None
    return () if n_elements == 0 else None
