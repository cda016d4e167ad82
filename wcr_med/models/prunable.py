"""The one definition of which weights are regularised, ranked, pruned and counted as sparsity."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_KERNEL_OWNERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The kernels of convolutions, transposed convolutions and linear layers, by name, in module order.

    Biases, normalisation and activation parameters are not among them. A kernel that two layers share stands once,
    under its first name. Empty where the network has no such layer.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        if isinstance(module, _KERNEL_OWNERS):
            kernel = module.weight
            assert isinstance(kernel, nn.Parameter)
            if id(kernel) not in seen:
                seen.add(id(kernel))
                found[f"{prefix}.weight" if prefix else "weight"] = kernel
    return found


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """One prunable kernel.

    Attributes:
        name: of the kernel in the network's state.
        shape: of the kernel.
        n: number of weights.
        n_zero: number of weights that are exactly zero.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    n_zero: int

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0 to 1; 0 for an empty kernel."""
        return _share(self.n_zero, self.n)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "n": self.n,
            "n_zero": self.n_zero,
            "sparsity": self.sparsity,
        }


@dataclass(frozen=True, kw_only=True)
class SparsityReport:
    """Zeros of a network against both denominators.

    Attributes:
        n_prunable: weights of all prunable kernels.
        n_prunable_zero: zeros among them.
        n_all: all parameters: kernels, biases and normalisation; not running statistics.
        n_all_zero: zeros among them.
        layers: one row a prunable kernel, in module order.
    """

    n_prunable: int
    n_prunable_zero: int
    n_all: int
    n_all_zero: int
    layers: tuple[LayerSparsity, ...]

    @property
    def sparsity_prunable(self) -> float:
        """Zeros as a share of the prunable weights, 0 to 1; 0 where there are none."""
        return _share(self.n_prunable_zero, self.n_prunable)

    @property
    def sparsity_all(self) -> float:
        """Zeros as a share of all parameters, 0 to 1; 0 where there are none."""
        return _share(self.n_all_zero, self.n_all)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary with both shares and the rows."""
        return {
            "n_prunable": self.n_prunable,
            "n_prunable_zero": self.n_prunable_zero,
            "sparsity_prunable": self.sparsity_prunable,
            "n_all": self.n_all,
            "n_all_zero": self.n_all_zero,
            "sparsity_all": self.sparsity_all,
            "layers": [layer.to_dict() for layer in self.layers],
        }


def sparsity(model: nn.Module) -> SparsityReport:
    """Count the exact zeros of a network."""
    layers = tuple(_row(name, kernel) for name, kernel in prunable_parameters(model).items())
    every = list(model.parameters())
    return SparsityReport(
        n_prunable=sum(layer.n for layer in layers),
        n_prunable_zero=sum(layer.n_zero for layer in layers),
        n_all=sum(tensor.numel() for tensor in every),
        n_all_zero=sum(_zeros(tensor) for tensor in every),
        layers=layers,
    )


def _row(name: str, kernel: Tensor) -> LayerSparsity:
    return LayerSparsity(name=name, shape=tuple(kernel.shape), n=kernel.numel(), n_zero=_zeros(kernel))


def _zeros(tensor: Tensor) -> int:
    return tensor.numel() - int(tensor.detach().count_nonzero())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
