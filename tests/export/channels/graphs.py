"""Small graphs, and what the tests of channel removal ask of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from tests.export.texts import parse_graph
from tests.exported import open_session
from wcr_med.export.channels import Removed, remove_dead_channels

Array = npt.NDArray[Any]


def f32(*values: float, shape: tuple[int, ...] = (-1,)) -> Array:
    """A float32 array."""
    return np.array(values, np.float32).reshape(shape)


def kernel(n_out: int, n_in: int, size: int = 3, *, seed: int = 0) -> Array:
    """A kernel (out, in, size, size) without zeros."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, (n_out, n_in, size, size)).astype(np.float32)


def without_rows(values: Array, *rows: int) -> Array:
    """A copy with output channels zeroed."""
    values = values.copy()
    values[list(rows)] = 0
    return values


def without_columns(values: Array, *columns: int) -> Array:
    """A copy with input channels zeroed."""
    values = values.copy()
    values[:, list(columns)] = 0
    return values


def parse(
    body: str, *, inputs: str = "float[N,2,6,6] x", out: str = "float[N,O,H,W] y", **constants: Array
) -> ModelProto:
    """A checked model from text; "out" types may use free sizes."""
    return parse_graph(body, inputs=inputs, out=out, **constants)


def run(model: ModelProto, seed: int = 0, *, optimise: bool = True) -> list[Array]:
    """Outputs of ONNX Runtime for random inputs, free sizes being 2."""
    session = open_session(model, optimise=optimise)
    rng = np.random.default_rng(seed)
    feed = {
        value.name: rng.normal(size=[size if isinstance(size, int) else 2 for size in value.shape]).astype(np.float32)
        for value in session.get_inputs()
    }
    results: list[Array] = session.run(None, feed)
    return results


def remove(model: ModelProto, *, relative: float = 1e-5) -> Removed:
    """Remove dead channels, and check all that is ensured whatever the graph."""
    before = model.SerializeToString()
    result = remove_dead_channels(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    for field in ("input", "output"):
        assert getattr(result.model.graph, field) == getattr(model.graph, field)
    assert result.n_parameters_after <= result.n_parameters_before
    again = remove_dead_channels(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()
    for seed in (0, 1):
        for expected, found in zip(run(model, seed), run(result.model, seed), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=relative * max(1.0, float(np.abs(expected).max())))
    return result


def constant(model: ModelProto, name: str) -> Array:
    """An initializer's values."""
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def node(model: ModelProto, output: str) -> NodeProto:
    """The node that makes a tensor."""
    return next(entry for entry in model.graph.node if output in entry.output)


def operators(model: ModelProto) -> list[str]:
    """Operators in graph order."""
    return [entry.op_type for entry in model.graph.node]
