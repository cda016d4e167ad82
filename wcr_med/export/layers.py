"""The table of kernels in a model file, for `wcr-med info`."""

from collections.abc import Iterable, Iterator

from onnx import ModelProto

from wcr_med.export.storage import TensorStorage
from wcr_med.model_layers import LAYERS_KEY, Layer, layers_to_json

_PARTS = {"dense": ("values",), "gap8": ("gaps",), "rice": ("low", "high", "n_low_bits")}  # beside values and scale


def write_layers(model: ModelProto, tensors: Iterable[TensorStorage]) -> None:
    """Put the table of kernels among the metadata of a model, in place of an older one.

    Args:
        model: changed in place.
        tensors: how each kernel is stored.
    """
    _write(model, (_layer(row) for row in tensors))


def write_layers_of_accelerated(
    model: ModelProto, tensors: Iterable[TensorStorage], portable: Iterable[TensorStorage]
) -> None:
    """The same for an accelerated model, some of whose kernels are inputs of the operator, each in several tensors.

    Args:
        model: changed in place.
        tensors: how the kernels that stay with ONNX Runtime are stored.
        portable: the kernels of the portable file; those that are nowhere in the model are left out.
    """
    outside = {row.name: row for row in tensors}
    sizes = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}

    def layers() -> Iterator[Layer]:
        for row in portable:
            if row.name in outside:
                yield _layer(outside[row.name])
                continue
            parts = {part: sizes.get(f"{row.name}.{part}") for part in ("values", "scale", *sum(_PARTS.values(), ()))}
            present = {part for part, size in parts.items() if size is not None}
            if "values" in present:
                form = next((form for form in ("gap8", "rice") if present.issuperset(_PARTS[form])), "dense")
                yield _layer(row, storage=form, size_bytes=sum(size or 0 for size in parts.values()))

    _write(model, layers())


def _layer(row: TensorStorage, *, storage: str | None = None, size_bytes: int | None = None) -> Layer:
    return Layer(
        name=row.name,
        shape=row.shape,
        n_nonzero=row.n_stored,
        storage=storage or row.storage,
        values=row.values,
        size_bytes=row.size_bytes if size_bytes is None else size_bytes,
    )


def _write(model: ModelProto, layers: Iterable[Layer]) -> None:
    others = [entry for entry in model.metadata_props if entry.key != LAYERS_KEY]
    kept = [(entry.key, entry.value) for entry in others]
    del model.metadata_props[:]
    for key, value in (*kept, (LAYERS_KEY, layers_to_json(layers))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
