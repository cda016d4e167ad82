"""Which ONNX files may be opened: those that hold a network of ours, within limits."""

from collections.abc import Mapping
from pathlib import Path

from wcr_med import native
from wcr_med.errors import UserError
from wcr_med.onnx_file.budget import TooLargeError, needs
from wcr_med.onnx_file.contents import ModelContents, Shape, Tensor
from wcr_med.onnx_file.shapes import RULES

IR_VERSIONS = range(7, 13)
"""Of ONNX's file format. `wcr-med export` writes 10."""

OPSETS = range(13, 25)
"""Versions of ONNX's own operators whose rules are known here. `wcr-med export` writes 18."""

MAX_NODES = 20_000
"""Of a graph. Sparse networks have some twenty for each kernel."""

_REMEDY = "give a file that `wcr-med export` wrote"


class TooMuchMemoryError(UserError):
    """A file whose network would need too much memory."""


def require_openable(contents: ModelContents, inputs: Mapping[str, Shape | None] | None = None) -> None:
    """Refuse a file that ONNX Runtime should not get.

    Args:
        contents: of the file.
        inputs: shape of each graph input; those that the file says by default.

    Raises:
        UserError: a standalone file, data in other files, functions, inner graphs or training graphs, another version
            of the format or the operators, operators that are not ours, constants that hold less than they declare, or
            more memory needed than the limits (see `wcr_med.onnx_file.budget`).
    """
    path = contents.path
    if contents.is_standalone:
        raise UserError(f"{path}: {_standalone(path)}")
    foreign = _foreign_parts(contents) or _foreign_operator(contents)
    if foreign:
        raise UserError(f"{path}: {foreign}; {_REMEDY}")
    _require_versions(contents)
    constants = [*contents.initializers, *_constant_nodes(contents)]
    short = next((tensor for tensor in constants if _holds_less(tensor)), None)
    if short is not None:
        raise UserError(
            f"{path}: the constant {short.name[:60]!r} declares {short.n_elements} numbers and holds "
            f"{short.held_bytes} bytes; copy the file again or export the network again"
        )
    try:
        needs(contents, contents.inputs if inputs is None else inputs)
    except TooLargeError as error:
        raise TooMuchMemoryError(f"{path}: refused for the memory it would need: {error}; {_REMEDY}") from None


def _standalone(path: Path) -> str:
    portable = path.name.replace(".standalone", "") if ".standalone" in path.name else "NAME.onnx"
    return (
        "a standalone file, for programs without this package; give the portable file of the same run, "
        f"{portable}, which `wcr-med export` writes beside it"
    )


def _foreign_parts(contents: ModelContents) -> str | None:
    parts = {
        "keeps weights in other files (external data), which no file of ours does": contents.has_external_data,
        "holds functions, which no file of ours does": contents.n_functions,
        "holds inner graphs (loops or branches), which no network of ours does": contents.n_subgraphs,
        "holds graphs for training": contents.has_training_info,
        f"has {len(contents.nodes)} nodes, and at most {MAX_NODES} are taken": len(contents.nodes) > MAX_NODES,
    }
    return next((what for what, found in parts.items() if found), None)


def _foreign_operator(contents: ModelContents) -> str | None:
    for domain, operator in contents.op_types:
        if domain == native.DOMAIN and operator == native.OPERATOR:
            continue
        if domain:
            return f"needs the operator {operator[:60]!r} of {domain[:60]!r}, which is not ours"
        if operator not in RULES:
            return f"needs the operator {operator[:60]!r}, which no network of ours has"
    return None


def _require_versions(contents: ModelContents) -> None:
    opset = contents.opsets.get("")
    for what, found, taken in (("format", contents.ir_version, IR_VERSIONS), ("operator set", opset, OPSETS)):
        if found is None or found not in taken:
            raise UserError(
                f"{contents.path}: ONNX {what} {found}, this version reads {taken[0]} to {taken[-1]}; export the "
                "network again, or install the version of wcr-med that wrote it"
            )


def _constant_nodes(contents: ModelContents) -> list[Tensor]:
    return [value for node in contents.nodes for value in node.attributes.values() if isinstance(value, Tensor)]


def _holds_less(tensor: Tensor) -> bool:
    """Whether a dense constant has fewer bytes than its numbers take: two to a byte at the most."""
    return not tensor.sparse and tensor.n_elements > 2 * tensor.held_bytes
