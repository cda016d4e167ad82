"""Forward: which channels have one value, the same everywhere and for every input."""

from collections.abc import Sequence

import numpy as np

from wcr_med.export.channels.kernels import Kernel
from wcr_med.export.channels.roles import Join, Map, Role
from wcr_med.export.channels.working import Floats, WorkingGraph


def constant_channels(graph: WorkingGraph, roles: Sequence[Role]) -> dict[str, Floats]:
    """Values of constant channels.

    A channel that a convolution makes is constant if its weights are zero wherever the source channel is not constant,
    and if the constant source channels add the same everywhere, borders included. Its value is carried on exactly, in
    float64.

    Returns:
        For each feature map float64 (C,): the value of a constant channel, NaN for any other.
    """
    values = {name: np.full(n, np.nan) for name, n in graph.channels.items()}
    for role in roles:
        with np.errstate(all="ignore"):
            if isinstance(role, Kernel):
                result = _convolved(graph, role, values[role.source])
            elif isinstance(role, Map):
                result = role.values([values[name] for name in role.sources])
            elif isinstance(role, Join):
                result = np.concatenate([values[name] for name in role.sources])
            else:
                continue
            # What float32 cannot hold is no constant to compute with.
            values[role.target] = np.where(np.isfinite(result.astype(np.float32)), result, np.nan)
    return values


def _convolved(graph: WorkingGraph, kernel: Kernel, source: Floats) -> Floats:
    unknown = np.isnan(source)
    varies = (kernel.reads & unknown).any(axis=1) | (kernel.uneven & (source != 0)).any(axis=1)
    bias = np.zeros(len(kernel.reads)) if kernel.bias is None else graph.constants[kernel.bias].astype(np.float64)
    return np.where(varies, np.nan, bias + kernel.even_sum @ np.where(unknown, 0.0, source))
