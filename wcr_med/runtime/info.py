"""What an exported file holds, told without opening it in ONNX Runtime."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.model_layers import LAYERS_KEY, Layer, layers_from_json
from wcr_med.model_metadata import INPUTS, METADATA_KEY, TASK, ModelMetadata
from wcr_med.onnx_file import ModelContents, read_contents, require_openable

Kind = Literal["portable", "accelerated", "standalone", "unknown"]

_OWN_OPERATOR = (native.DOMAIN, native.OPERATOR)
_ONNX_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc")


@dataclass(frozen=True, kw_only=True)
class Support:
    """Whether a runtime has every operator of a file; where it has not, or something is to be said, why."""

    runtime: str
    loads: bool
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a file of ours holds.

    Attributes:
        file: its name.
        size_bytes: its size.
        kind: which of the files of `wcr-med export` it is, by its inputs, outputs and operators.
        producer: program that wrote the graph.
        opsets: domain -> version of its operators; "" is ONNX's own.
        operators: number of nodes by operator, others than ONNX's own as "domain:operator"; inner graphs not counted.
        custom_operators: those of them that are not ONNX's own.
        inputs: of the graph; `None` stands for a size that is free, or for a shape that is not said.
        outputs: of the graph, by name.
        metadata: what the file says about itself.
        layers: a row a kernel; `None` where the file has no such table.
        support: a row a runtime.
        sha256: the checksum in the file, which was found right; `None` where it holds none.
    """

    file: str
    size_bytes: int
    kind: Kind
    producer: str
    opsets: dict[str, int]
    operators: dict[str, int]
    custom_operators: tuple[str, ...]
    inputs: dict[str, tuple[int | None, ...] | None]
    outputs: tuple[str, ...]
    metadata: ModelMetadata
    layers: tuple[Layer, ...] | None
    support: tuple[Support, ...]
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `metadata` as in the file, and the share of zeros in each layer."""
        document = asdict(self)
        document["metadata"] = {"task": TASK, **document["metadata"]}
        if self.layers is not None:
            document["layers"] = [{**asdict(layer), "n": layer.n, "sparsity": layer.sparsity} for layer in self.layers]
        return document


def describe(path: Path) -> ModelInfo:
    """Read what an exported file holds. Weights are not read, and nothing is run.

    Raises:
        UserError: no such file, not a whole ONNX model, or not one of ours; then the message says what can be said.
    """
    contents = read_contents(path)
    if METADATA_KEY not in contents.metadata:
        raise UserError(f"{path}: {_summary(contents)}; give a file that `wcr-med export` wrote")
    table = contents.metadata.get(LAYERS_KEY)
    kind = _kind(contents)
    return ModelInfo(
        file=path.name,
        size_bytes=contents.size_bytes,
        kind=kind,
        producer=contents.producer,
        opsets=dict(contents.opsets),
        operators={_name(*entry): number for entry, number in contents.op_types.most_common()},
        custom_operators=tuple(_custom(contents)),
        inputs=dict(contents.inputs),
        outputs=tuple(contents.outputs),
        metadata=ModelMetadata.from_json(contents.metadata[METADATA_KEY], source=str(path)),
        layers=None if table is None else layers_from_json(table, source=str(path)),
        support=(*_engines(contents), _our_runtime(contents, kind)),
        sha256=contents.sha256,
    )


def _kind(contents: ModelContents) -> Kind:
    if contents.is_standalone:
        return "standalone"
    if not set(contents.inputs).issuperset(INPUTS):
        return "unknown"
    return "accelerated" if _OWN_OPERATOR in contents.op_types else "portable"


def _engines(contents: ModelContents) -> list[Support]:
    """By the operators inside, inner graphs and functions excepted."""
    own = _OWN_OPERATOR in contents.op_types
    others = [name for name in _custom(contents) if name != _name(*_OWN_OPERATOR)]
    contributed = [name for name in others if name.startswith(tuple(f"{name}:" for name in _ONNX_RUNTIME_DOMAINS))]
    unknown = [name for name in others if name not in contributed]
    built = "" if native.is_available() else "not built here"
    lacking_ours = [_name(*_OWN_OPERATOR)] if own else []

    def support(runtime: str, lacking: list[str], note: str = "") -> Support:
        why = f"lacks {', '.join(lacking[:3])}" if lacking else note
        return Support(runtime=runtime, loads=not lacking, note=why)

    return [
        support("ONNX Runtime", unknown + lacking_ours),
        support("ONNX Runtime with the accelerator", unknown, built if own else "not needed"),
        support("OpenVINO", unknown + contributed + lacking_ours),
        support("onnxruntime-web", unknown + lacking_ours),
    ]


def _our_runtime(contents: ModelContents, kind: Kind) -> Support:
    name = "wcr-med infer"
    if kind == "standalone":
        return Support(runtime=name, loads=False, note="takes the portable or the accelerated file")
    try:
        require_openable(contents)
    except UserError as error:
        return Support(runtime=name, loads=False, note=str(error).removeprefix(f"{contents.path}: "))
    if kind == "accelerated" and not native.is_available():
        return Support(runtime=name, loads=False, note="the accelerator is not built here")
    return Support(runtime=name, loads=kind != "unknown", note="other inputs than ours" if kind == "unknown" else "")


def _custom(contents: ModelContents) -> list[str]:
    return sorted(_name(*entry) for entry in contents.op_types if entry[0])


def _name(domain: str, operator: str) -> str:
    return f"{domain}:{operator}" if domain else operator


def _summary(contents: ModelContents) -> str:
    """What can be said of a file that is not ours."""
    custom = _custom(contents)
    parts = [
        f"an ONNX model{f' by {contents.producer}' if contents.producer else ''}",
        f"operator set {contents.opsets.get('', 'unknown')}",
        f"{sum(contents.op_types.values())} nodes",
        f"inputs {', '.join(contents.inputs) or 'none'}",
        f"outputs {', '.join(contents.outputs) or 'none'}",
        *([f"custom operators {', '.join(custom)}"] if custom else []),
    ]
    return f"{', '.join(part[:200] for part in parts)}, without metadata of wcr-med"
